"""Space-channel context (He et al., ELIC, CVPR 2022; with paper 004's blocks in S2CFormer).

Channel groups are coded one after the other. Each takes two steps: the even positions of a checkerboard (anchors),
from the hyper latent and all earlier groups, then the odd ones, which see the anchors around them as well. Only the
positions that a step codes are computed: the aggregation runs once a position, not twice as in the papers' code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.entropy.causal import CausalContext
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import Schedule, Step
from promptcodec.model.layers.pointwise import linear
from promptcodec.model.layers.s2c import S2CConv, S2CIdentity


def context_model(cfg: config.Model) -> SpaceChannelContext | CausalContext | ContextualMean | None:
    """Return the context model of a configuration. Raises UsageError where its channels are not the latent's."""
    if isinstance(cfg.context, config.ContextualMean):
        if (cfg.hyper_synthesis.out_channels, cfg.scale) != (cfg.latent_channels, "log"):
            raise UsageError(
                f"with contextual means, the hyper synthesis gives {cfg.latent_channels} log scales; found "
                f"{cfg.hyper_synthesis.out_channels} channels of {cfg.scale} scales"
            )
        return ContextualMean(cfg.context, cfg.latent_channels)
    hyper = cfg.hyper_synthesis.out_channels
    if isinstance(cfg.context, config.CausalAttention):
        return CausalContext(cfg.latent_channels, hyper, cfg.context)
    if cfg.context is None:
        return None
    if sum(cfg.context.groups) != cfg.latent_channels:
        raise UsageError(
            f"groups {cfg.context.groups} have {sum(cfg.context.groups)} channels, y has {cfg.latent_channels}"
        )
    return SpaceChannelContext(hyper, cfg.context)


class SpaceChannelContext(nn.Module):
    """Scales and means of every group from hyper latent, earlier groups, and anchors nearby."""

    def __init__(self, hyper: int, cfg: config.SpaceChannel) -> None:
        super().__init__()
        self.bounds = [0, *accumulate(cfg.groups)]
        self.channel, self.spatial, self.aggregation = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for before, group in zip(self.bounds, cfg.groups, strict=False):
            if before:
                self.channel.append(_channel_context(before, 2 * group, cfg))
            self.spatial.append(CheckerboardConv(group, 2 * group))
            self.aggregation.append(_aggregation((4 if before else 2) * group + hyper, 2 * group, hyper, cfg))

    def steps(self, hyper: Tensor) -> Schedule:
        """Yield the steps for hyper features (B, C, h, w).

        Scales as the networks give them (floor or exponential to come).
        """
        height, width = hyper.shape[2:]
        colours = checkerboard(height, width, hyper.device)
        features = hyper.permute(0, 2, 3, 1)
        y_hat = hyper.new_zeros(0)
        for k, (begin, end) in enumerate(pairwise(self.bounds)):
            contexts = [features]
            if k:
                contexts.insert(0, self.channel[k - 1](y_hat[:, :begin].to(hyper.dtype).permute(0, 2, 3, 1)))
            for second, (rows, cols) in enumerate(colours):
                here = [context[:, rows, cols] for context in contexts]
                if second:
                    around = self.spatial[k](y_hat[:, begin:end].to(hyper.dtype), rows, cols)
                else:
                    around = hyper.new_zeros(*here[0].shape[:2], 2 * (end - begin))
                parameters = self.aggregation[k](torch.cat([around, *here], -1)).transpose(1, 2)
                scale, mean = parameters.chunk(2, 1)
                y_hat = yield Step((slice(None), slice(begin, end), rows, cols), scale, mean)


_LIVE = [(dy, dx) for dy in range(5) for dx in range(5) if (dy + dx) % 2]  # taps of a 5x5 convolution


class CheckerboardConv(nn.Conv2d):
    """5x5 convolution whose taps at an even distance (row + column) are zero, at given positions only."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 5, padding=2)

    def forward(self, x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:  # type: ignore[override]
        """Take x (B, C, h, w) at positions (n,), (n,) to (B, n, out)."""
        dy, dx = torch.tensor(_LIVE, dtype=torch.int64, device=x.device).unbind(1)
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 2, 2, 2, 2))
        around = padded[:, rows[:, None] + dy, cols[:, None] + dx].flatten(2)  # (B, n, 12 C)
        return F.linear(around, self.weight[:, :, dy, dx].transpose(1, 2).flatten(1), self.bias)


def checkerboard(height: int, width: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the rows and columns (n,) of the even positions and of the odd ones, int64, in raster order."""
    parity = (torch.arange(height)[:, None] + torch.arange(width)) % 2
    even, odd = ((parity == p).nonzero().to(device).unbind(1) for p in (0, 1))
    return (even[0], even[1]), (odd[0], odd[1])


class ConvChannelContext(nn.Sequential):
    """ELIC's network over earlier groups: three 5x5 convolutions with ReLU between them."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(*_chain(widths, lambda a, b: nn.Conv2d(a, b, 5, padding=2)))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, h, w, channels) to (B, h, w, out)."""
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


class LinearAggregation(nn.Sequential):
    """ELIC's network that joins the contexts: three linear layers with ReLU between them, a token at a time."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(*_chain(widths, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self:
            x = linear(x, layer) if isinstance(layer, nn.Linear) else layer(x)
        return x


def _channel_context(channels: int, out: int, cfg: config.SpaceChannel) -> nn.Module:
    widths = (channels, *cfg.hidden, out)
    if cfg.channel == "conv":
        return ConvChannelContext(widths)
    return nn.Sequential(*(S2CConv(a, b) for a, b in pairwise(widths)))


def _aggregation(channels: int, out: int, hyper: int, cfg: config.SpaceChannel) -> nn.Module:
    """Return widths that fall linearly from the input's to the output's, but those inside not below the hyper
    features'.
    """
    ramp = [max(channels + (out - channels) * i // 3, hyper) for i in (1, 2)]
    widths = (channels, *ramp, out)
    if cfg.aggregation == "conv":
        return LinearAggregation(widths)
    return nn.Sequential(*(S2CIdentity(a, b) for a, b in pairwise(widths)))


def _chain(widths: Sequence[int], layer: Callable[[int, int], nn.Module]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [layer(a, b), nn.ReLU()]
    return layers[:-1]
