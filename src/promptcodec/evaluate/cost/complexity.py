"""Multiply-accumulates of a model, layer by layer, by arithmetic: true ones and as the papers count them.

A layer counts as its paper defines it. What this implementation saves (context computed only where it is used, keys
projected once) is in ``saved``. Latent maps are those of a picture padded to multiples of 64.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from torch import nn

from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import STRIDE
from promptcodec.model.entropy.causal import CausalContext
from promptcodec.model.entropy.context import SpaceChannelContext
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.layers.blocks import Block, Stage
from promptcodec.model.layers.gdn import Gdn
from promptcodec.model.layers.mixers import WindowAttention
from promptcodec.model.layers.ngram import NgramContext
from promptcodec.model.layers.transforms import BlockAnalysis, BlockSynthesis, Transform


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates by kind, of a whole picture.

    ``products``: convolutions and linear layers at the resolution where they run (transposed ones at their input).
    ``transposed``: what counting transposed convolutions at their output adds. ``attention``: both products of
    softmax attention. ``biases``: one for each output of a convolution. ``norms``: one for each normalised value.
    ``gdn``: generalised divisive normalisation as a 1x1 convolution. ``elementwise``: what paper 002's counter gives to
    layers without products: one for each rectified, pooled or upsampled value, two for each of a batch norm.
    ``again``: the second run of the aggregation in a two-pass context. ``empty``: a second run of its masked
    convolution, over nothing, which only ELIC's printed figure counts. ``saved``: what we need not compute of all but
    ``empty``.
    """

    products: float = 0.0
    transposed: float = 0.0
    attention: float = 0.0
    biases: float = 0.0
    norms: float = 0.0
    again: float = 0.0
    empty: float = 0.0
    saved: float = 0.0
    gdn: float = 0.0
    elementwise: float = 0.0

    def __add__(self, other: Macs) -> Macs:
        return Macs(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, factor: float) -> Macs:
        return Macs(*(getattr(self, f.name) * factor for f in fields(self)))

    @property
    def true(self) -> float:
        """What the layers multiply, as their papers define them."""
        return self.products + self.attention + self.again

    @property
    def needed(self) -> float:
        """What this implementation multiplies."""
        return self.true - self.saved

    @property
    def paper002(self) -> float:
        """Transposed convolutions at their output, biases of convolutions, norms, and layers without products."""
        ours = self.products + self.attention + self.transposed + self.gdn
        return ours + self.biases + self.norms + self.elementwise

    @property
    def paper004(self) -> float:
        """Transposed convolutions at their output, aggregation twice, no attention products, no biases, no norms."""
        return self.products + self.transposed + self.again


@dataclass(frozen=True)
class Part:
    """A layer's share: ``network`` (g_a …), ``kind`` (resampling, mixer, ffn, context …), parameters and MACs."""

    network: str
    kind: str
    parameters: int
    macs: Macs


def parts(model: CompressionModel, height: int, width: int) -> list[Part]:
    """Return every part of ``model`` for a picture of ``height`` x ``width`` pixels."""
    rows, cols = -(-height // STRIDE), -(-width // STRIDE)
    counted = [Part("prior", "prior", _count(model.prior), Macs())]
    for name, scale in (("g_a", 64), ("h_a", 4), ("h_s", 1), ("g_s", 4)):
        counted += _transform(name, getattr(model, name), rows * scale, cols * scale)
    if isinstance(model.context, ContextualMean):
        counted += _contextual_mean(model.context, rows, cols)
    elif model.context is not None:
        counted += _context(model.context, 16 * rows * cols)
    if model.gain is not None:
        counted.append(Part("gain", "gain", _count(model.gain), Macs()))
    return counted


def total(counted: Iterable[Part], *networks: str) -> Part:
    """Return the sum over ``networks``, or over all."""
    chosen = [part for part in counted if not networks or part.network in networks]
    macs = sum((part.macs for part in chosen), Macs())
    return Part("+".join(networks) or "total", "all", sum(part.parameters for part in chosen), macs)


def _transform(name: str, transform: Transform, height: int, width: int) -> Iterator[Part]:
    channels, first = 0, height * width
    for module in transform.layers:
        if isinstance(module, Stage):
            for block in module.blocks:
                assert isinstance(block, Block)
                yield from _block(name, block, height * width)
            continue
        if isinstance(module, Gdn):
            channels = module.beta.numel()
            products, biases = float(channels**2 * height * width), float(channels * height * width)
            yield Part(name, "GDN", _count(module), Macs(gdn=products, biases=biases))
        if isinstance(module, nn.LeakyReLU):
            yield Part(name, "activation", 0, Macs(elementwise=float(channels * height * width)))
        convs = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
        macs = Macs()
        for conv in convs:
            stride = conv.stride[0]
            if isinstance(conv, nn.ConvTranspose2d):
                macs += _conv(conv, height * width, height * width * stride**2)
                height, width = height * stride, width * stride
            else:
                height, width = height // stride, width // stride
                macs += _conv(conv, height * width, height * width)
            channels = conv.out_channels
        for shuffle in (m for m in module.modules() if isinstance(m, nn.PixelShuffle)):
            factor = int(shuffle.upscale_factor)
            height, width = height * factor, width * factor
        if convs:
            resampling = len(convs) == 1  # ELIC's bottlenecks and attention modules have many
            yield Part(name, "resampling" if resampling else "convolutions", _count(module), macs)
    if transform.gate is not None:
        size = transform.gate.weight.numel()
        positions = height * width if isinstance(transform.shortcut, BlockAnalysis) else first
        yield Part(name, "gate", _count(transform.gate), Macs(products=float(size * positions)))
    if isinstance(transform.shortcut, (BlockAnalysis, BlockSynthesis)):
        size = transform.shortcut.weight.numel()
        side = int(transform.shortcut.weight.shape[-1])
        analysis = isinstance(transform.shortcut, BlockAnalysis)
        blocks = height * width if analysis else height * width // side**2
        yield Part(name, "shortcut", size, Macs(products=float(size * blocks)))


def _conv(conv: nn.Conv2d | nn.ConvTranspose2d, positions: int, outputs: int) -> Macs:
    products = float(conv.weight.numel() * positions)
    return Macs(
        products=products,
        transposed=products * (outputs / positions - 1),
        biases=0.0 if conv.bias is None else float(conv.out_channels * outputs),
    )


def _block(name: str, block: Block, tokens: int) -> Iterator[Part]:
    if block.mixer is not None:
        macs = _tokenwise(block.norm1, tokens) + _tokenwise(block.mixer, tokens)
        yield Part(name, "mixer", _count(block.norm1) + _count(block.mixer), macs)
    if block.ffn is not None:
        macs = _tokenwise(block.norm2, tokens) + _tokenwise(block.ffn, tokens)
        yield Part(name, "ffn", _count(block.norm2) + _count(block.ffn), macs)


def _tokenwise(module: nn.Module, tokens: int) -> Macs:
    """Count layers that work on every token of a map alike."""
    macs = Macs()
    if isinstance(module, WindowAttention):
        macs += Macs(attention=2.0 * tokens * module.window**2 * module.proj.in_features)
    if isinstance(module, NgramContext):
        return _ngram(module, tokens)
    if isinstance(module, nn.Linear):
        return Macs(products=float(tokens * module.weight.numel()))
    if isinstance(module, nn.Conv2d):
        return _conv(module, tokens, tokens)
    if isinstance(module, nn.LayerNorm):
        return Macs(norms=float(tokens * module.normalized_shape[0]))
    for child in module.children():
        macs += _tokenwise(child, tokens)
    return macs


def _ngram(context: NgramContext, tokens: int) -> Macs:
    """Count attention over N² windows for every window, both ways; we project each window once, and the mean only."""
    half, keys, windows = context.unigram.out_channels, context.attention.ngram**2, tokens / context.window**2
    convs = _conv(context.unigram, 1, 1) + _conv(context.merge, 1, 1)
    once = Macs(products=4.0 * half**2, attention=2.0 * keys * half)
    return (convs + once * (2 * keys) + Macs(saved=8.0 * half**2 * (keys - 1))) * windows


def _context(context: SpaceChannelContext | CausalContext, latents: int) -> Iterator[Part]:
    if isinstance(context, CausalContext):
        yield from _causal(context, latents)
        return
    macs = _tokenwise(context.channel, latents)
    yield Part("context", "channel context", _count(context.channel), macs)
    spatial = sum((_conv(conv, latents, latents) for conv in context.spatial), Macs())  # type: ignore[arg-type]
    masked = spatial + Macs(empty=spatial.products, saved=spatial.products * (1 - 0.5 * 12 / 25))
    yield Part("context", "spatial context", _count(context.spatial), masked)
    aggregation = _tokenwise(context.aggregation, latents)
    twice = aggregation + Macs(again=aggregation.products, saved=aggregation.products)
    yield Part("context", "aggregation", _count(context.aggregation), twice)


def _contextual_mean(context: ContextualMean, rows: int, cols: int) -> Iterator[Part]:
    """Yield the features at all places at once; of the mean network, what looks around runs whole in each step but the
    first.
    """
    yield from _transform("context", context.features, rows, cols)
    latents = 16 * rows * cols
    network = sum(
        (_tokenwise(layer, latents) for layer in (
            context.first, context.of_features, context.of_scales, context.norm, context.ffn, context.out,
            *context.around,
        )), Macs(),
    )  # fmt: skip
    network += _tokenwise(context.of_residuals, latents) * (len(context.around) / (len(context.around) + 1))
    yield Part("context", "mean network", _count(context) - _count(context.features), network)


def _causal(context: CausalContext, latents: int) -> Iterator[Part]:
    tokens, channels = context.window**2, context.norm1.normalized_shape[0]
    net = _tokenwise(context.parameters_net, latents)
    project = _tokenwise(context.qkv, latents)
    sums = Macs(attention=2.0 * latents * tokens**2 * channels, saved=latents * (tokens**2 - tokens) * channels)
    attention = project * tokens + Macs(saved=project.products * (tokens - 1)) + sums
    attention += _tokenwise(context.ffn, latents) + _tokenwise(context.proj, latents)
    yield Part("context", "causal attention", _count(context) - _count(context.parameters_net), attention)
    yield Part("context", "aggregation", _count(context.parameters_net), net)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(cfg: config.Model) -> CompressionModel:
    """Return the model without memory for its weights: enough to count."""
    import torch

    with torch.device("meta"):
        return CompressionModel(cfg)
