"""Blocks of paper 004 (S2CFormer): separable convolution as mixer, and its layers that change the width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.layers.mixers import depthwise
from promptcodec.model.layers.pointwise import PairedFeedForward, linear

EPS = 1e-6  # of the norms before the feed-forward halves
SLOPE = 0.01


class SeparableConvMixer(nn.Module):
    """1x1 convolution, LeakyReLU, depthwise convolution, 1x1 convolution to ``out``; no norm before it, no skip."""

    def __init__(self, channels: int, out: int, kernel: int = 5, bias: bool = True) -> None:
        super().__init__()
        self.into = nn.Linear(channels, channels, bias)
        self.depthwise = DepthwiseConv(channels, kernel, bias)
        self.proj = nn.Linear(channels, out, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Mix x: tokens (B, H, W, C)."""
        return linear(self.depthwise(F.leaky_relu(linear(x, self.into), SLOPE)), self.proj)


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution of tokens (B, H, W, C).

    In float64 on the CPU it is a sum of shifted products: torch's own takes many times as long there, and context
    models need this precision.
    """

    def __init__(self, channels: int, kernel: int, bias: bool) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float64 or x.device.type != "cpu" or torch.is_grad_enabled():
            return depthwise(self, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        kernel, half = self.weight.shape[-1], self.weight.shape[-1] // 2
        _, height, width, _ = x.shape
        padded = F.pad(x, (0, 0, half, half, half, half))
        taps = self.weight[:, 0].permute(1, 2, 0).contiguous()
        out = torch.zeros_like(x) if self.bias is None else self.bias.expand_as(x).contiguous()
        for dy in range(kernel):
            for dx in range(kernel):
                out.addcmul_(padded[:, dy : dy + height, dx : dx + width], taps[dy, dx])
        return out


class S2CConv(nn.Module):
    """Separable convolution with a skip (1x1 where the width changes), then x + gated feed-forward(norm(x))."""

    def __init__(self, channels: int, out: int, kernel: int = 5, ratio: float = 4.0) -> None:
        super().__init__()
        self.mixer = SeparableConvMixer(channels, out, kernel)
        self.skip = nn.Linear(channels, out) if channels != out else nn.Identity()
        self.norm = nn.LayerNorm(out, EPS)
        self.ffn = PairedFeedForward(out, ratio, gated=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, H, W, channels) to (B, H, W, out)."""
        x = self.mixer(x) + self.skip(x)
        return x + self.ffn(self.norm(x))  # type: ignore[no-any-return]


class S2CIdentity(nn.Module):
    """A linear change of width, then x + gated feed-forward(norm(x))."""

    def __init__(self, channels: int, out: int, ratio: float = 4.0) -> None:
        super().__init__()
        self.mixer = nn.Linear(channels, out)
        self.norm = nn.LayerNorm(out, EPS)
        self.ffn = PairedFeedForward(out, ratio, gated=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return (…, channels) to (…, out)."""
        x = linear(x, self.mixer)
        return x + self.ffn(self.norm(x))  # type: ignore[no-any-return]
