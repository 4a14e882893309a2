"""Continuous variable rate: gain vectors (Cui et al. 2021) interpolated exponentially between knots."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from promptcodec.model import config


class RateGain(nn.Module):
    """Maps q in [0, 1] to lambda and to per-channel gains before quantisation and after it.

    Between two knots the logarithm of a gain is linear in q, so gains are positive and smooth in the rate. The start is
    the high-rate optimum: step sizes proportional to lambda^-1/2.
    """

    def __init__(self, cfg: config.Gain, latent: int, hyper: int) -> None:
        super().__init__()
        self.lambda_min, self.lambda_max, self.levels = cfg.lambda_min, cfg.lambda_max, cfg.levels
        span = math.log(cfg.lambda_max / cfg.lambda_min)
        log_gain = 0.5 * span * (torch.linspace(0, 1, cfg.levels) - 0.5)
        self.y = nn.Parameter(log_gain[:, None].repeat(1, latent))
        self.y_inverse = nn.Parameter(-log_gain[:, None].repeat(1, latent))
        self.z = nn.Parameter(torch.zeros(cfg.levels, hyper))
        self.z_inverse = nn.Parameter(torch.zeros(cfg.levels, hyper))

    def rate_lambda(self, q: Tensor) -> Tensor:
        """Return the rate-distortion trade-off that q stands for: log-spaced between the ends."""
        return self.lambda_min * (self.lambda_max / self.lambda_min) ** q

    def forward(self, q: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Turn q (B,) in [0, 1] into gains y, 1/y, z, 1/z, each (B, channels, 1, 1), in the parameters' precision."""
        position = q.to(self.y.dtype).clamp(0, 1) * (self.levels - 1)
        knot = position.floor().clamp(max=self.levels - 2).long()
        weight = (position - knot)[:, None]
        y, y_inverse, z, z_inverse = (
            torch.exp(torch.lerp(table[knot], table[knot + 1], weight))[..., None, None]
            for table in (self.y, self.y_inverse, self.z, self.z_inverse)
        )
        return y, y_inverse, z, z_inverse
