"""Transforms: chains of resampling layers and stages, from a configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.kernels.workers import is_torch_alone
from promptcodec.model.layers.blocks import Stage
from promptcodec.model.layers.bounded import Bounded
from promptcodec.model.layers.elic import AttentionModule, Bottleneck
from promptcodec.model.layers.gdn import Gdn
from promptcodec.model.steering import TransformSteer

FEW_CHANNELS = 8  # of an output: they leave vector units mostly empty


class Transform(nn.Module):
    """Analysis, synthesis or hyper transform. Takes and gives (B, C, H, W)."""

    def __init__(self, cfg: config.Transform, drop_path: Iterator[float]) -> None:
        super().__init__()
        channels, self.layers = cfg.in_channels, nn.ModuleList()
        for layer in cfg.layers:
            if isinstance(layer, config.Stage):
                self.layers.append(Stage(channels, layer, [next(drop_path) for _ in range(layer.depth)]))
            elif isinstance(layer, config.Gdn):
                self.layers.append(Gdn(channels, layer.inverse))
            elif isinstance(layer, config.LeakyReLU):
                self.layers.append(nn.LeakyReLU(layer.slope))
            elif isinstance(layer, (config.Resample, config.ReflectConv)):
                self.layers.append(resample(channels, layer))
                channels = layer.channels
            else:
                self.layers.append(_plain(channels, layer))
        self._last = max(i for i, layer in enumerate(cfg.layers) if not _only_a_site(layer))
        self.shortcut: BlockAnalysis | BlockSynthesis | None = None
        self.gate: nn.Conv2d | None = None
        if cfg.shortcut:
            up = any(isinstance(l, config.Resample) and l.kind != "down" for l in cfg.layers)
            linear = BlockSynthesis if up else BlockAnalysis
            self.shortcut = linear(cfg.in_channels, channels, cfg.shortcut)
        if cfg.gate:
            self.gate_after, width = _last_at_latent(cfg)
            self.gate = nn.Conv2d(width, cfg.in_channels if self._expands else channels, 1)
            nn.init.zeros_(self.gate.weight)
            nn.init.zeros_(self.gate.bias)  # type: ignore[arg-type]
        self.bound = Bounded(channels, cfg.bound) if cfg.bound else None

    def forward(self, x: Tensor, steer: TransformSteer | None = None, region: Tensor | None = None) -> Tensor:
        """Return ``region`` (B, 1, H, W) in [0, 1]: where N-gram context acts, everywhere by default (paper 003)."""
        stage = 0

        def run(layers: list[nn.Module], tokens: Tensor) -> Tensor:
            nonlocal stage
            for layer in layers:
                if isinstance(layer, Stage):
                    by_block = {site[1]: s for site, s in steer.items() if site[0] == stage} if steer else None
                    tokens = layer(tokens, by_block, region)
                    stage += 1
                else:
                    tokens = layer(tokens)
            return tokens

        layers = list(self.layers)
        gate, begin, out = None, 0, x
        if self.gate is not None:
            begin = self.gate_after + 1
            out = run(layers[:begin], x)
            gate = 1 + _not_bfloat16(self.gate(out))
        last = layers[self._last :]
        out = run(layers[begin : self._last], out)
        if self.shortcut is None:
            with full_precision(x.device):  # bfloat16 would round latents to 1/16, pixels to 1/256
                out = run(last, _not_bfloat16(out))
                return out if self.bound is None else self.bound(out)
        correction = run(last, out)
        with full_precision(x.device):  # its values are large: bfloat16 would round them to a unit
            x = _not_bfloat16(x)
            if gate is None:
                linear: Tensor = self.shortcut(x)
            else:
                linear = self.shortcut(x * gate) if self._expands else self.shortcut(x) * gate
            out = linear + correction
            return out if self.bound is None else self.bound(out)

    @property
    def _expands(self) -> bool:
        return isinstance(self.shortcut, BlockSynthesis)


def _not_bfloat16(x: Tensor) -> Tensor:
    return x.float() if x.dtype == torch.bfloat16 else x


def _last_at_latent(cfg: config.Transform) -> tuple[int, int]:
    """Return the index and width of the layer whose output is the last map at the resolution of the latent, but for the
    output.

    Raises UsageError where there is no such layer, or no shortcut that a gate could act on.
    """
    width, place = cfg.in_channels, None
    for i, layer in enumerate(cfg.layers[:-1]):
        if isinstance(layer, config.Resample):
            if layer.kind != "down":
                break
            width = layer.channels
        place = (i, width)
    if not cfg.shortcut or place is None:
        raise UsageError("a gate wants a shortcut to act on, and a layer before the last at the latent's resolution")
    return place


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Switch autocast off inside; tensors on ``meta``, of which costs are counted, know none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


class BlockAnalysis(nn.Module):
    """Linear transform of non-overlapping blocks: (B, C, H, W) to (B, K, H / block, W / block)."""

    def __init__(self, channels: int, out_channels: int, block: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, channels, block, block))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        block = self.weight.shape[-1]  # a matrix product: strided convolutions this large are slow everywhere
        patches = x.unflatten(3, (-1, block)).unflatten(2, (-1, block)).permute(0, 2, 4, 1, 3, 5).flatten(3)
        return F.linear(patches, self.weight.flatten(1)).permute(0, 3, 1, 2)


class BlockSynthesis(nn.Module):
    """Linear transform to non-overlapping blocks: (B, K, h, w) to (B, C, h * block, w * block)."""

    def __init__(self, channels: int, out_channels: int, block: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, out_channels, block, block))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, y: Tensor) -> Tensor:
        blocks = torch.matmul(y.permute(0, 2, 3, 1), self.weight.flatten(1))
        blocks = blocks.view(*blocks.shape[:3], *self.weight.shape[1:])
        return blocks.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


class ReflectConv(nn.Conv2d):
    """A convolution that mirrors its map at the borders. Raises UsageError for maps too small to mirror."""

    def forward(self, x: Tensor) -> Tensor:
        pad = int(self.padding[0])
        height, width = x.shape[-2:]
        if min(height, width) <= pad:
            raise UsageError(
                f"this model mirrors maps by {pad} at their borders; one of {height} x {width} is too small: it takes "
                "pictures of at least 65 pixels a side"
            )
        return super().forward(x)


class Upsample(nn.ConvTranspose2d):
    """A transposed convolution; a map of (B, C, H, W) comes out at ``stride`` times its size.

    Each of the 2 x 2 outputs of a place is a convolution with every second weight; the four are one convolution to four
    times the channels (Shi et al. 2016). So it runs where that is quicker: for few channels, float32, on the CPU.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not self._splits(x):
            return super().forward(x, output_size)
        # 5 weights an axis and a 0: three for outputs at even places, three for odd ones, from the nearest input on.
        weight = F.pad(self.weight, (0, 1, 0, 1)).unflatten(3, (3, 2)).unflatten(2, (3, 2)).flip(2, 4)
        weight = weight.permute(1, 3, 5, 0, 2, 4).flatten(0, 2).contiguous(memory_format=torch.channels_last)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        return F.pixel_shuffle(F.conv2d(x, weight, bias, padding=1), 2)

    def _splits(self, x: Tensor) -> bool:
        layout = (self.kernel_size[0], self.stride[0], self.out_channels <= FEW_CHANNELS)
        if layout != (5, 2, True) or x.dtype != torch.float32 or x.device.type != "cpu":
            return False
        return not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or is_torch_alone())


def resample(channels: int, layer: config.Resample | config.ReflectConv) -> nn.Module:
    """Return the layer that a configuration describes, for maps of ``channels`` channels."""
    if isinstance(layer, config.ReflectConv):
        pad = layer.kernel // 2
        return ReflectConv(channels, layer.channels, layer.kernel, layer.stride, pad, padding_mode="reflect")
    stride, kernel = layer.stride, layer.kernel or layer.stride
    padding = layer.kernel // 2
    if layer.kind == "down":
        conv: nn.Module = nn.Conv2d(channels, layer.channels, kernel, stride, padding)
    elif layer.kind == "up":
        conv = Upsample(channels, layer.channels, kernel, stride, padding, output_padding=stride - 1)
    else:
        conv = nn.Conv2d(channels, layer.channels * stride**2, kernel, padding=padding)
    if layer.zero_init:
        nn.init.zeros_(conv.weight)  # type: ignore[arg-type]
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(conv, nn.PixelShuffle(stride)) if layer.kind == "shuffle" else conv


def _plain(channels: int, layer: config.Relu | config.Bottlenecks | config.AttentionGate) -> nn.Module:
    if isinstance(layer, config.Bottlenecks):
        return nn.Sequential(*(Bottleneck(channels) for _ in range(layer.count)))
    return AttentionModule(channels) if isinstance(layer, config.AttentionGate) else nn.ReLU()


def _only_a_site(layer: config.Layer) -> bool:
    """Return whether a layer computes nothing itself."""
    return isinstance(layer, config.Stage) and layer.depth == 0


def depth(cfg: config.Transform) -> int:
    """Return the number of blocks in a transform."""
    return sum(layer.depth for layer in cfg.layers if isinstance(layer, config.Stage))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (B, C, H, W) until both sides are multiples of ``multiple``."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
