"""The small U-Net that looks at the whole picture before prompts are made of it (paper 002, figure 5)."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class UNet(nn.Module):
    """(B, in_channels, H, W) to (B, out_channels, H / stride, W / stride); both sides multiples of 4.

    556,160 parameters with 3 channels in, 128 out and width 32.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2, width: int = 32) -> None:
        super().__init__()
        self.down1 = _convs(in_channels, width, width)
        self.down2 = _convs(width, 2 * width, 2 * width)
        self.down3 = _convs(2 * width, 4 * width, 4 * width)
        self.up2 = _convs(6 * width, 2 * width, 2 * width, 2 * width)
        self.up1 = _convs(3 * width, width, width, width)
        self.head = nn.Conv2d(width, out_channels, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Read x: a picture in [0, 1] and whatever maps stand beside it."""
        fine = self.down1(x)
        middle = self.down2(F.max_pool2d(fine, 2))
        coarse = self.down3(F.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([middle, _double(coarse)], dim=1))
        fine = self.up1(torch.cat([fine, _double(middle)], dim=1))
        return self.head(fine)  # type: ignore[no-any-return]


def _convs(*channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
