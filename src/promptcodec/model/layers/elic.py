"""Convolutional layers of ELIC (He et al., CVPR 2022), the baseline of paper 004. All take and give (B, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Bottleneck(nn.Sequential):
    """x + conv1x1(relu(conv3x3(relu(conv1x1(x))))), at half the width inside."""

    def __init__(self, channels: int) -> None:
        half = channels // 2
        super().__init__(
            nn.Conv2d(channels, half, 1), nn.ReLU(), nn.Conv2d(half, half, 3, padding=1), nn.ReLU(),
            nn.Conv2d(half, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)  # type: ignore[no-any-return]


class AttentionModule(nn.Module):
    """x + A(x) · sigmoid(B(x)) (Cheng et al. 2020, simplified): three residual units in A, three and a 1x1 in B."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*(_Unit(channels) for _ in range(3)))
        self.mask = nn.Sequential(*(_Unit(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.trunk(x) * torch.sigmoid(self.mask(x))  # type: ignore[no-any-return]


class _Unit(Bottleneck):
    """relu of a bottleneck's output."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(super().forward(x))
