"""Rate and distortion of what a model gives back: one measure for training, refinement and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RateDistortion:
    """Estimated ``bits`` and sums of squared errors on the scale of 0..1, (B,) each, of samples of so many ``values``.

    ``values`` counts the three channels; sums suit one picture's refinement, the means below everything else.
    """

    bits: Tensor
    squared_error: Tensor
    values: int

    @property
    def bpp(self) -> Tensor:
        """Bits per pixel, (B,)."""
        return self.bits / (self.values // 3)

    @property
    def mse(self) -> Tensor:
        """Mean squared error on the scale of 0..255, (B,)."""
        return 255**2 * (self.squared_error / self.values)

    @property
    def psnr(self) -> Tensor:
        """PSNR in dB, (B,)."""
        return 10 * torch.log10(255**2 / self.mse)


def rate_distortion(out: dict[str, Any], x: Tensor, weight: Tensor | None = None) -> RateDistortion:
    """Measure ``out``, which ``CompressionModel.forward`` gave for x, (B, 3, H, W) in [0, 1].

    ``weight`` (B, 1, H, W) multiplies squared errors place by place and is not normalised.
    """
    bits = sum(-likelihood.flatten(1).log2().sum(1) for likelihood in out["likelihoods"].values())
    return RateDistortion(bits, _summed(out["x_hat"], x, weight), x[0].numel())


def mean_squared_error(x_hat: Tensor, x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Measure a reconstruction alone: ``RateDistortion.mse`` of it, (B,)."""
    return 255**2 * (_summed(x_hat, x, weight) / x[0].numel())


def _summed(x_hat: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
    error = (x_hat.contiguous() - x.contiguous()).square()  # one memory layout: mixed ones are ten times slower
    return (error if weight is None else error * weight).flatten(1).sum(1)
