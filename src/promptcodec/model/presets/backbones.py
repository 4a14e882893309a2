"""Small variable-rate codecs of our own after papers 003 and 004, to be trained on equal terms.

Twins of at most 3 M parameters, and the narrower variants of the papers' ablations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from promptcodec.model.config import Attention, Gain, Model, Resample, SeparableConv, Stage, Transform
from promptcodec.model.presets.papers import Ffn, with_ngram

WIDTHS = (48, 96, 160)
NARROW = (32, 64, 96)


def _small(name: str, fine: Stage, middle: Stage, coarse: Stage, widths: tuple[int, int, int] = WIDTHS) -> Model:
    """Return the frame of ``nano``: a linear block transform beside stages at 1/4, 1/8 and 1/16, all else equal."""
    a, b, c = widths
    hyper = Stage(1, None, residual=False)
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", a, 0, 4), fine, Resample("down", b), middle, Resample("down", c), coarse,
            Resample("down", 320, 1, 1, zero_init=True),
        ), shortcut=16),
        synthesis=Transform(320, (
            Resample("down", c, 1, 1), coarse, Resample("shuffle", b, 1), middle, Resample("shuffle", a, 1), fine,
            Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=Transform(320, (Resample("down", 96), hyper, Resample("down", 48))),
        hyper_synthesis=Transform(48, (
            Resample("up", 96), hyper, Resample("shuffle", 128, 1), hyper, Resample("down", 640, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=Gain(0.0009, 0.1),
    )  # fmt: skip


def s2c_nano() -> Model:
    """Build a hybrid: convolution at 1/4, attention (which takes prompts) at 1/8, 1/16; gated feed-forward halves."""

    def stage(depth: int, mixer: Attention | SeparableConv) -> Stage:
        return Stage(depth, mixer, 2.0, shift=False, residual=False, ffn="gated", norm_eps=1e-6)

    return _small(
        "s2c-nano", stage(1, SeparableConv()), stage(2, Attention(3, 8, relative=False)),
        stage(2, Attention(5, 8, relative=False)),
    )  # fmt: skip


def swin_nano() -> Model:
    """Build the twin of ``s2c-nano``: shifted windows and plain MLPs, at equal multiply-accumulates."""

    def stage(depth: int, heads: int, ratio: float) -> Stage:
        return Stage(depth, Attention(heads, 8), ratio, residual=False)

    return _small("swin-nano", stage(1, 2, 0.9375), stage(2, 3, 3.0), stage(2, 5, 3.0))


def s2c_narrow(arrangement: str, ffn: Ffn) -> Model:
    """Return a variant of paper 004's ablations.

    The mixers of the three stages, I, C or A, and their feed-forward halves.
    """

    def stage(kind: str, depth: int, heads: int) -> Stage:
        mixers = {"I": None, "C": SeparableConv(), "A": Attention(heads, 8, relative=False)}
        return Stage(depth, mixers[kind], 4.0, shift=False, residual=False, ffn=ffn, norm_eps=1e-6)

    a, b, c = (stage(*layer) for layer in zip(arrangement, (1, 2, 2), (1, 2, 3), strict=True))
    return _small(f"s2c-narrow-{arrangement.lower()}-{ffn}", a, b, c, NARROW)


def swin_narrow() -> Model:
    """Build the baseline of paper 003's ablation: Swin stages of two blocks, so that every second one is shifted."""
    a, b, c = (Stage(2, Attention(heads, 8), residual=False) for heads in (1, 2, 3))
    return _small("swin-narrow", a, b, c, NARROW)


def ngram_narrow(name: str, cosine: bool = True, post: bool = True, tanh: bool = True) -> Model:
    """Return ``swin-narrow`` with the switches of paper 003 in g_a and g_s; its hyper transforms have no attention."""
    return with_ngram(swin_narrow(), name, "main", 2, cosine, post, tanh)


SMALL_PRESETS = {"s2c-nano": s2c_nano, "swin-nano": swin_nano}

_MIXERS_AND_FFNS: list[tuple[str, Ffn]] = [
    ("III", "gated"), *((mixers, ffn) for mixers in ("CCC", "AAA") for ffn in ("none", "vanilla", "additive", "gated")),
    ("ACC", "gated"), ("CCA", "gated"), ("CAA", "gated"),
]  # fmt: skip
ABLATIONS: dict[str, Callable[[], Model]] = {
    **{f"s2c-narrow-{a.lower()}-{ffn}": partial(s2c_narrow, a, ffn) for a, ffn in _MIXERS_AND_FFNS},
    "swin-narrow": swin_narrow,
    "swin-narrow-context": lambda: ngram_narrow("swin-narrow-context", cosine=False, post=False, tanh=False),
    "swin-narrow-ngram": lambda: ngram_narrow("swin-narrow-ngram", tanh=False),
    "swin-narrow-ngram-tag": lambda: ngram_narrow("swin-narrow-ngram-tag"),
}
