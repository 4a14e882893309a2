"""What a reconstruction is measured by in training."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from promptcodec.quality.lpips import FeatureDistance
from promptcodec.quality.ms_ssim import ms_ssim

Metric = Literal["mse", "ms-ssim"]
METRICS: tuple[Metric, ...] = ("mse", "ms-ssim")

MS_SSIM_LAMBDAS = (3.0, 5.0, 8.0, 16.0, 36.0, 64.0)
"""Paper 004's trade-offs."""


class Distortion(nn.Module):
    """``mse`` on the 0..255 scale or 1 - MS-SSIM, plus ``weight`` times the distance in a frozen network's features."""

    def __init__(self, metric: Metric, features: FeatureDistance | None = None, weight: float = 0.0) -> None:
        super().__init__()
        self.metric, self.features, self.weight = metric, features, weight

    def forward(self, x_hat: Tensor, x: Tensor, mse: Tensor) -> Tensor:
        """Return (B,) distortions; ``mse`` (B,) is at hand already."""
        distortion = mse if self.metric == "mse" else 1 - ms_ssim(x_hat, x)
        if self.features is not None:
            distortion = distortion + self.weight * self.features(x_hat, x)
        return distortion

    def rate_lambda(self, mse_lambda: Tensor, ends: tuple[float, float]) -> Tensor:
        """Return the trade-off of this metric where the model's own scale, made for MSE, says ``mse_lambda`` between
        ``ends``.

        MS-SSIM's run from the first to the last of MS_SSIM_LAMBDAS, log-spaced as well.
        """
        if self.metric == "mse":
            return mse_lambda
        q = (mse_lambda / ends[0]).log() / math.log(ends[1] / ends[0])
        return MS_SSIM_LAMBDAS[0] * (MS_SSIM_LAMBDAS[-1] / MS_SSIM_LAMBDAS[0]) ** q
