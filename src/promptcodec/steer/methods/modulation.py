"""Spatial feature transform (Song et al. 2021): features scaled and shifted, place by place, by a condition map."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SFTLayer(nn.Module):
    """x * (1 + scale) + shift, with both from a condition map, average-pooled to x's size.

    369,024 parameters at 128 channels, 516,608 at 192, with 64 condition channels.
    """

    def __init__(self, channels: int, condition: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.shared = nn.Conv2d(condition, hidden, 3, padding=1)
        self.scale = nn.Conv2d(hidden, channels, 3, padding=1)
        self.shift = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate x (B, C, H, W); condition: (B, P, h, w), at least as large."""
        features = F.relu(self.shared(pooled(condition, x)))
        out: Tensor = x * (1 + self.scale(features)) + self.shift(features)
        return out


class SFTResidual(nn.Module):
    """x + conv(act(SFT(conv(act(SFT(x)))))), with leaky ReLUs of slope 0.2."""

    def __init__(self, channels: int, condition: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.sft = nn.ModuleList(SFTLayer(channels, condition, hidden) for _ in range(2))
        self.conv = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Modulate as ``SFTLayer`` does."""
        out = x
        for sft, conv in zip(self.sft, self.conv, strict=True):
            out = conv(F.leaky_relu(sft(out, condition), 0.2))
        return x + out


class ConditionSteps(nn.Module):
    """A condition map at every stage's resolution: three convolutions, then one step a stage.

    ``strides``: how much each stage is coarser (finer where ``up``) than the one before; a leading 1 takes the first
    map as it is. Leaky ReLUs of slope 0.1 between convolutions, none at the end of a net.
    """

    def __init__(self, in_channels: int, strides: tuple[int, ...], up: bool = False, condition: int = 64) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(in_channels, 4 * condition, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(4 * condition, 2 * condition, 3, padding=1), nn.LeakyReLU(0.1),
            nn.Conv2d(2 * condition, condition, 3, padding=1),
        )  # fmt: skip
        self.steps = nn.ModuleList(_step(condition, s, up) if s > 1 else nn.Identity() for s in strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Turn x (B, C, H, W) into conditions. One map (B, P, h, w) a stage."""
        conditions: list[Tensor] = []
        x = self.first(x)
        for step in self.steps:
            x = step(x)
            conditions.append(x)
        return conditions


def _step(channels: int, stride: int, up: bool) -> nn.Module:
    conv: nn.Module = nn.Conv2d(channels, channels, 3, stride, 1)
    if up:
        conv = nn.ConvTranspose2d(channels, channels, 3, stride, 1, output_padding=stride - 1)
    return nn.Sequential(conv, nn.LeakyReLU(0.1), nn.Conv2d(channels, channels, 1))


def with_planes(x: Tensor, planes: list[Tensor]) -> Tensor:
    """Return the maps (B, 1, H, W) in front of x (B, C, h, w), average-pooled to its size."""
    return torch.cat([*(pooled(p.to(x), x) for p in planes), x], dim=1)


def pooled(condition: Tensor, x: Tensor) -> Tensor:
    """Return ``condition`` (B, P, h, w), average-pooled to the size of x (B, C, H, W)."""
    return F.adaptive_avg_pool2d(condition, (x.shape[2], x.shape[3]))
