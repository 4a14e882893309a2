"""Layer-adaptive prompt modules (paper 001): one small adapter a rate on a frozen base of one rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import Decoded, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.generator import PromptPyramid, step_to
from promptcodec.steer.sites import prompted_from


class PromptSeed(nn.Module):
    """The encoder prompt generator: a picture (B, 3, H, W) to a map (B, 1, H/2, W/2), both sides multiples of 4.

    The paper names its parts (basic blocks, convolutions, max-pools, batch norms, a learned deconvolution) but no
    widths; these make the published total of 1.4 million. 24,609 parameters.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.fine, self.coarse = BasicBlock(16, 16), BasicBlock(16, 32)
        self.up = nn.Sequential(nn.ConvTranspose2d(32, 16, 3, 2, 1, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.last = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Modulate x in [0, 1]."""
        fine = self.fine(F.max_pool2d(self.first(x), 2))
        coarse = self.coarse(F.max_pool2d(fine, 2))
        return self.last(fine + self.up(coarse))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if channels != out_channels:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out_channels, 1), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Modulate x (B, C, H, W)."""
        return F.relu(self.convs(x) + self.shortcut(x))


class LPM(Adapter, kind="lpm"):
    """Prompts on both sides: a chain p_i = Conv(p_{i-1}) through the stages, max-pooled to each layer (eq. 5 to 8).

    The rate is the adapter: nothing but its identity travels in the file. 1,427,937 parameters on ``tic``.
    """

    def __init__(self, base: config.Model, name: str = "") -> None:
        super().__init__(base, name)
        first = prompted_from(base, "g_a")
        stride = math.prod(layer.stride for layer in first.before)
        if stride % 2:
            raise UsageError(f"{base.name} begins at stride {stride}; the prompt module wants an even one")
        seed = nn.Sequential(
            PromptSeed(base.analysis.in_channels), nn.Conv2d(1, first.channels, 3, stride // 2, padding=1)
        )
        self.encoder = PromptPyramid(base, "g_a", first=seed, layers=False)
        channels = base.latent_channels
        after = prompted_from(base, "g_s")
        resampled = any(layer.stride > 1 for layer in after.before)
        conv = step_to(after, channels) if resampled else nn.Conv2d(channels, after.channels, 3, padding=1)
        bridge = nn.Sequential(nn.Conv2d(channels, channels, 1), conv)
        self.decoder = PromptPyramid(base, "g_s", first=bridge, layers=False)

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set prompts of almost zero."""
        for half in (self.encoder, self.decoder):
            half.start_neutral()

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the prompts from the picture."""
        return self.encoder(x)  # type: ignore[no-any-return]

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the prompts from ŷ."""
        return self.decoder(decoded.y)  # type: ignore[no-any-return]
