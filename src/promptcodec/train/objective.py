"""The rate-distortion loss."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class RateDistortion:
    """Per-sample bits per pixel (B,), mean squared error on the 0..255 scale (B,) and the loss to minimise."""

    bpp: Tensor
    mse: Tensor
    loss: Tensor

    @property
    def psnr(self) -> Tensor:
        """Per-sample PSNR in dB, (B,)."""
        return 10 * torch.log10(255**2 / self.mse)


def rate_distortion(out: dict[str, Any], x: Tensor, rate_lambda: Tensor) -> RateDistortion:
    """lambda * 255² * MSE + bpp (facts of all five papers), each sample divided by sqrt(lambda).

    The division keeps high rates from ruling the gradient; with one lambda it is a constant factor. ``rate_lambda``
    is (B,); x and ``out["x_hat"]`` are (B, 3, H, W) in [0, 1].
    """
    pixels = x.shape[-2] * x.shape[-1]
    bits = sum(-p.flatten(1).log2().sum(1) for p in out["likelihoods"].values())
    bpp = bits / pixels
    error = out["x_hat"].contiguous() - x.contiguous()  # one memory layout: mixed ones are ten times slower
    mse = 255**2 * error.square().flatten(1).mean(1)
    weight = math.sqrt(0.01) / rate_lambda.sqrt()
    return RateDistortion(bpp, mse, (weight * (rate_lambda * mse + bpp)).mean())
