"""Random regions of interest to train with (Kao et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def random_region(
    height: int, width: int, instances: Iterable[Tensor] | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Return (1, height, width) in [0, 1]: what a sample's squared errors are weighted by.

    20 % constant (one in a hundred of them zero, else uniform), 30 % one level an object, zero where none is, 20 % a
    ramp between two levels, 30 % a sum of 1 to 20 Gaussians. ``instances``: the objects' masks, (height, width) in
    {0, 1}; rectangles take their part where it is None.
    """
    kind = _uniform(generator)
    if kind < 0.2:
        return torch.full(
            (1, height, width), 0.0 if _uniform(generator) < 0.01 else min(1.0, 1.01 * _uniform(generator))
        )
    if kind < 0.5:
        region = torch.zeros(1, height, width)
        for mask in _rectangles(height, width, generator) if instances is None else instances:
            region = torch.maximum(region, mask * _uniform(generator))
        return region
    if kind < 0.7:
        start, end = _uniform(generator), _uniform(generator)
        down = _uniform(generator) < 0.5
        ramp = torch.linspace(start, end, height if down else width)
        return (ramp[:, None] if down else ramp[None]).expand(1, height, width).clone()
    return _gaussians(height, width, generator)


def _rectangles(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Return one to four random rectangles, (n, height, width)."""
    masks = torch.zeros(1 + int(4 * _uniform(generator)), height, width)
    for mask in masks:
        top, bottom = sorted(int(_uniform(generator) * height) for _ in range(2))
        left, right = sorted(int(_uniform(generator) * width) for _ in range(2))
        mask[top : bottom + 1, left : right + 1] = 1.0
    return masks


def _gaussians(height: int, width: int, generator: torch.Generator | None) -> Tensor:
    """Return the axis-aligned Gaussians with variances of 1000 to 3000 px², scaled so that the largest value is 0.5 to
    1.
    """
    total = torch.zeros(height, width)
    for _ in range(1 + int(20 * _uniform(generator))):
        variances = [1000 + 2000 * _uniform(generator) for _ in range(2)]
        y = (torch.arange(height) - _uniform(generator) * height).square() / variances[0]
        x = (torch.arange(width) - _uniform(generator) * width).square() / variances[1]
        total += torch.outer(torch.exp(-0.5 * y), torch.exp(-0.5 * x))
    return (total / total.max() * (0.5 + 0.5 * _uniform(generator)))[None]


def _uniform(generator: torch.Generator | None) -> float:
    return float(torch.rand((), generator=generator))
