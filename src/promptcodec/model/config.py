"""Descriptions of models as nested frozen dataclasses; saved as JSON beside the weights."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from promptcodec.errors import UsageError

STRIDE = 64  # pixels along a side for which one element of z stands
LATENTS_A_SIDE = 4  # elements of y along a side for one of z

# Fields that older model files lack are left out of the JSON at their defaults, so that these files' fingerprints stay.
_LATER = {"later": True}


@dataclass(frozen=True)
class Attention:
    """Window attention mixer: ``heads`` heads over windows of ``window`` x ``window`` tokens.

    ``ngram`` N > 0 adds the context of ``ngram`` x ``ngram`` windows to every token (paper 003), ``cosine`` makes the
    logits scaled cosines, ``relative`` says whether there is a learned bias for relative positions.
    """

    heads: int
    window: int = 8
    ngram: int = field(default=0, metadata=_LATER)
    cosine: bool = field(default=False, metadata=_LATER)
    relative: bool = field(default=True, metadata=_LATER)


@dataclass(frozen=True)
class Depthwise:
    """Depthwise ``kernel`` x ``kernel`` convolution as mixer: cheap where maps are large."""

    kernel: int = 5


@dataclass(frozen=True)
class SeparableConv:
    """Paper 004's convolutional mixer, without a norm before it: 1x1, LeakyReLU, depthwise ``kernel``, 1x1."""

    kernel: int = 5
    bias: bool = False


@dataclass(frozen=True)
class Stage:
    """``depth`` blocks (mixer, then feed-forward) at one resolution.

    ``mixer`` None leaves only the feed-forward half. ``shift`` lets every second attention block shift its windows by
    half a window. ``residual`` adds the stage's input to its output. ``zero_init`` starts every branch of the blocks
    at zero, so that a fresh stage passes its input through.

    ``ffn``: ``mlp`` with biases (Swin), or paper 004's ``vanilla``, ``additive`` and ``gated`` without any, or
    ``none``. ``gelu``: the exact one or the approximation by tanh (paper 003's TAG-MLP). ``norm``: before a branch, or
    after it (Swin V2). ``norm_eps`` is 1e-6 in paper 004.
    """

    depth: int
    mixer: Attention | Depthwise | SeparableConv | None
    ffn_ratio: float = 2.0
    shift: bool = True
    residual: bool = True
    zero_init: bool = False
    ffn: Literal["mlp", "vanilla", "additive", "gated", "none"] = field(default="mlp", metadata=_LATER)
    gelu: Literal["none", "tanh"] = field(default="none", metadata=_LATER)
    norm: Literal["pre", "post"] = field(default="pre", metadata=_LATER)
    norm_eps: float = field(default=1e-5, metadata=_LATER)


@dataclass(frozen=True)
class Resample:
    """A convolution that changes resolution or width.

    ``kind``: ``down`` (strided convolution), ``up`` (transposed convolution) or ``shuffle`` (convolution to
    stride² x channels, then pixel shuffle). ``kernel`` 0 in ``down`` means kernel = stride without padding (patches).
    ``zero_init`` starts the layer at zero.
    """

    kind: Literal["down", "up", "shuffle"]
    channels: int
    kernel: int = 3
    stride: int = 2
    zero_init: bool = False


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True)
class Bottlenecks:
    """``count`` residual bottlenecks (1x1, 3x3, 1x1 at half the width) as in ELIC."""

    count: int


@dataclass(frozen=True)
class AttentionGate:
    """ELIC's attention module: x + A(x) · sigmoid(B(x))."""


@dataclass(frozen=True)
class ReflectConv:
    """A convolution that reflects the map at its borders, as in Song et al.'s codec."""

    channels: int
    kernel: int = 5
    stride: int = 2


@dataclass(frozen=True)
class Gdn:
    """Generalised divisive normalisation without squares (``model.layers.gdn``), or its inverse."""

    inverse: bool = False


@dataclass(frozen=True)
class LeakyReLU:
    """Leaky rectifier of a given slope below zero."""

    slope: float


Layer = Resample | Stage | Relu | Bottlenecks | AttentionGate | ReflectConv | Gdn | LeakyReLU


@dataclass(frozen=True)
class Transform:
    """A chain of layers. ``shortcut`` > 0 adds a learned linear block transform of that block size beside the chain.

    A stage of depth 0 computes nothing: it is a place where steering can act. ``gate`` multiplies the shortcut's latent
    by 1 + a linear function, zero at the start, of the last features at the latent's resolution, so that what steers
    those features reaches the linear path as well. ``bound`` > 0 keeps every output within that distance of a value
    learned per channel (``model.layers.bounded``).
    """

    in_channels: int
    layers: tuple[Layer, ...]
    shortcut: int = 0
    drop_path: float = 0.0
    gate: bool = field(default=False, metadata=_LATER)
    bound: float = field(default=0.0, metadata=_LATER)

    @property
    def out_channels(self) -> int:
        """Channels of the last layer that sets a width."""
        return next(l.channels for l in reversed(self.layers) if isinstance(l, (Resample, ReflectConv)))


@dataclass(frozen=True)
class Gain:
    """Continuous variable rate: q in [0, 1] maps to lambda, log-spaced, and to gains between ``levels`` knots."""

    lambda_min: float
    lambda_max: float
    levels: int = 7

    def rate_of(self, rate_lambda: float) -> float:
        """Return q for a trade-off above 0, in [0, 1] for those that were trained: the inverse of ``rate_lambda``."""
        return math.log(rate_lambda / self.lambda_min) / math.log(self.lambda_max / self.lambda_min)


@dataclass(frozen=True)
class SpaceChannel:
    """ELIC's context: channel ``groups`` one after the other, each in two passes over a checkerboard.

    One group is the plain checkerboard. ``channel`` and ``aggregation`` say what the networks that look at earlier
    groups and that join all contexts consist of: ELIC's convolutions, or the blocks of paper 004. ``hidden`` are the
    widths inside the former.
    """

    groups: tuple[int, ...]
    channel: Literal["conv", "s2c"] = "conv"
    aggregation: Literal["conv", "s2c"] = "conv"
    hidden: tuple[int, int] = (224, 128)


@dataclass(frozen=True)
class CausalAttention:
    """TIC's context: attention among the ``window`` x ``window`` latents around the one to be coded."""

    window: int = 5
    heads: int = 16
    ratio: float = 4.0


@dataclass(frozen=True)
class ContextualMean:
    """One-shot scale, contextual mean: all scales come from z at once, means in four steps over a 2x2 grid.

    ``features`` is a second hyper synthesis, from z to what the means are made of; it has no say in the scales. The
    mean network joins them with what is decoded so far, in ``hidden`` channels, through a depthwise ``kernel`` x
    ``kernel`` convolution and a gated feed-forward half of ``ffn_ratio``.
    """

    features: Transform
    hidden: int = 192
    kernel: int = 5
    ffn_ratio: float = 2.0


@dataclass(frozen=True)
class Model:
    """A whole codec: analysis, synthesis and hyper transforms and the entropy model's conventions.

    ``scale`` says what the first half of the hyper synthesis' output is: ``raw`` standard deviations (floored at
    0.11), as in the papers, or their natural logarithm. ``gain`` None is a model for one rate. ``context`` None is the
    plain hyperprior; a context decides scales and means from the hyper synthesis' output and what is already decoded,
    but for ``ContextualMean``, where the hyper synthesis gives scales (their logarithms) and nothing else.
    """

    name: str
    analysis: Transform
    synthesis: Transform
    hyper_analysis: Transform
    hyper_synthesis: Transform
    scale: Literal["raw", "log"] = "raw"
    gain: Gain | None = None
    context: SpaceChannel | CausalAttention | ContextualMean | None = field(default=None, metadata=_LATER)

    @property
    def latent_channels(self) -> int:
        """Channels of the latent y."""
        return self.analysis.out_channels

    @property
    def hyper_channels(self) -> int:
        """Channels of the hyper latent z."""
        return self.hyper_analysis.out_channels

    def to_json(self) -> str:
        """Return the configuration as JSON; ``from_json`` reads it back."""
        return json.dumps(_to_plain(self), separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Model:
        """Read a configuration written by ``to_json``. Raises UsageError where it names unknown parts or fields."""
        try:
            config = _from_plain(json.loads(text))
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(f"this model configuration cannot be read: {error}") from None
        if not isinstance(config, Model):
            raise UsageError(f"expected the configuration of a Model, found {type(config).__name__}")
        return config


_KINDS = {
    kind.__name__: kind
    for kind in (
        Attention, Depthwise, SeparableConv, Stage, Resample, Relu, Bottlenecks, AttentionGate, ReflectConv, Gdn,
        LeakyReLU, Transform, Gain, SpaceChannel, CausalAttention, ContextualMean, Model,
    )
}  # fmt: skip


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        fields = {
            f.name: _to_plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not f.metadata or getattr(value, f.name) != f.default
        }
        return {"kind": type(value).__name__, "fields": fields}
    return [_to_plain(v) for v in value] if isinstance(value, tuple) else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _KINDS[value["kind"]](**{k: _from_plain(v) for k, v in value["fields"].items()})
    return tuple(_from_plain(v) for v in value) if isinstance(value, list) else value
