"""Gain units (Cui et al. 2021): vectors that scale each channel of y and z before and after quantisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from promptcodec.model import config
from promptcodec.model.steering import Gains
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls


class GainUnits(Adapter, kind="gain-units"):
    """``levels`` rates of a frozen base, and all between: a signalled scalar ``rate`` in [0, 1] runs over the levels.

    Absolute values count. Between levels s and s + 1, |G_s|^(1-l) |G_{s+1}|^l, on both sides alike. The base's hyper
    transforms see y as they were trained to, without its gain; scales and means are multiplied by it. 2 (M + N)
    parameters a level.
    """

    signals = ("rate",)

    def __init__(self, base: config.Model, name: str = "", *, levels: int = 8) -> None:
        super().__init__(base, name, levels=levels)
        self.levels = levels
        latent, hyper = base.latent_channels, base.hyper_channels
        self.y, self.y_inverse = (nn.Parameter(torch.ones(levels, latent)) for _ in range(2))
        self.z, self.z_inverse = (nn.Parameter(torch.ones(levels, hyper)) for _ in range(2))

    def gains(self, signalled: Controls) -> Gains:
        """Return interpolated vectors, in the scalar's precision."""
        rate = signalled.scalar("rate")
        return Gains(*(interpolate(v, rate)[..., None, None] for v in (self.y, self.y_inverse, self.z, self.z_inverse)))


def interpolate(vectors: Tensor, rate: Tensor) -> Tensor:
    """Return the rows of |vectors| (levels, C) at ``rate`` (B,) in [0, 1], between rows exponentially: (B, C)."""
    if vectors.shape[0] == 1:
        return vectors.to(rate.dtype).abs().expand(rate.shape[0], -1)
    position = rate.clamp(0, 1) * (vectors.shape[0] - 1)
    level = position.floor().clamp(max=vectors.shape[0] - 2).long()
    weight = (position - level)[:, None]
    values = vectors.to(rate.dtype).abs()
    return values[level] ** (1 - weight) * values[level + 1] ** weight
