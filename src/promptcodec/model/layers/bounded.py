"""Outputs that cannot run away: log scales and z stay within a distance of a value of their channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class _Clamp(torch.autograd.Function):
    """clamp(x, -limit, limit) whose gradient also passes outside where it leads back inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.limit = limit
        return x.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        inwards = (grad * x) > 0  # a step against the gradient lowers |x|
        return grad * ((x.abs() <= ctx.limit) | inwards), None


class Bounded(nn.Module):
    """centre + clamp(x, -limit, limit) for x (B, C, H, W), with a learned centre per channel.

    Comparisons and one sum: the same on every machine up to the rounding of that sum. In a hyper synthesis whose last
    layer starts at zero the centre is each channel's log scale, which the limit is relative to; without such a bound a
    log scale that runs away takes z and the loss with it.
    """

    def __init__(self, channels: int, limit: float) -> None:
        super().__init__()
        self.limit = limit
        self.centre = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = _Clamp.apply(x, self.limit) if torch.is_grad_enabled() else x.clamp(-self.limit, self.limit)  # type: ignore[no-untyped-call]
        return x + self.centre[:, None, None]
