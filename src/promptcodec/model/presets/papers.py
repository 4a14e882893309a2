"""Configurations of the papers' other backbones and entropy models: data, not classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

from promptcodec.model.config import (
    Attention,
    AttentionGate,
    Bottlenecks,
    CausalAttention,
    Model,
    Relu,
    Resample,
    SeparableConv,
    SpaceChannel,
    Stage,
    Transform,
)  # fmt: skip
from promptcodec.model.presets.tic import tic

Scope = Literal["all", "main", "hyper"]


def map_stages(transform: Transform, change: Callable[[Stage], Stage]) -> Transform:
    """Return ``transform`` with every stage changed."""
    layers = tuple(change(layer) if isinstance(layer, Stage) else layer for layer in transform.layers)
    return replace(transform, layers=layers)


def with_ngram(
    base: Model, name: str, scope: Scope = "all", ngram: int = 2, cosine: bool = True, post: bool = True,
    tanh: bool = True,
) -> Model:  # fmt: skip
    """Return ``base``, a Swin codec, with the four switches of paper 003, each by itself.

    ``ngram`` N > 0 adds N-gram context, ``cosine`` makes attention scaled-cosine, ``post`` puts norms after the
    branches, ``tanh`` approximates the GELU (TAG-MLP). The paper's row "+ N-gram" is the first three. ``scope``: the
    text says all networks; the printed 33.3 M parameters are those of the context in the hyper networks only.
    """

    def change(stage: Stage) -> Stage:
        assert isinstance(stage.mixer, Attention)
        return replace(
            stage, mixer=replace(stage.mixer, ngram=ngram, cosine=cosine),
            norm="post" if post else "pre", gelu="tanh" if tanh else "none",
        )  # fmt: skip

    main = change if scope in ("all", "main") else lambda stage: stage
    hyper = change if scope in ("all", "hyper") else lambda stage: stage
    return replace(
        base, name=name,
        analysis=map_stages(base.analysis, main), synthesis=map_stages(base.synthesis, main),
        hyper_analysis=map_stages(base.hyper_analysis, hyper), hyper_synthesis=map_stages(base.hyper_synthesis, hyper),
    )  # fmt: skip


def tic_context(channels: int = 128, latent: int = 192, depths: tuple[int, ...] = (2, 4, 6, 2, 2)) -> Model:
    """Build TIC as its authors publish it (paper 001's reference), with its causal attention context.

    10,227,299 parameters with today's depths, 7,021,211 with (1, 2, 3, 1, 1) as before July 2024.
    """
    n, m, (a, b, c, d, e) = channels, latent, depths

    def stage(depth: int, heads: int, window: int = 8) -> Stage:
        return Stage(depth, Attention(heads, window), ffn_ratio=4.0)

    return Model(
        name="tic-context",
        analysis=Transform(3, (
            Resample("down", n, 5), stage(a, 4), Resample("down", n), stage(b, 8),
            Resample("down", n), stage(c, 16), Resample("down", m),
        ), drop_path=0.2),
        synthesis=Transform(m, (
            Resample("up", n), stage(c, 16), Resample("up", n), stage(b, 8),
            Resample("up", n), stage(a, 4), Resample("up", 3, 5),
        ), drop_path=0.2),
        hyper_analysis=Transform(m, (
            Resample("down", n, 3, 1), stage(d, 16, 4), Resample("down", n), stage(e, 16, 4), Resample("down", n),
        ), drop_path=0.2),
        hyper_synthesis=Transform(n, (
            Resample("up", n), stage(e, 16, 4), Resample("up", n), stage(d, 16, 4), Resample("down", 2 * m, 3, 1),
        ), drop_path=0.2),
        context=CausalAttention(),
    )  # fmt: skip


def elic(
    channels: int = 192, latent: int = 320, groups: tuple[int, ...] = (16, 16, 32, 64, 192),
    hidden: tuple[int, int] = (224, 128),
) -> Model:  # fmt: skip
    """Build ELIC (He et al., CVPR 2022) as CompressAI builds it; 32,074,200 parameters."""
    n, m, blocks = channels, latent, Bottlenecks(3)
    return Model(
        name="elic",
        analysis=Transform(3, (
            Resample("down", n, 5), blocks, Resample("down", n, 5), blocks, AttentionGate(),
            Resample("down", n, 5), blocks, Resample("down", m, 5), AttentionGate(),
        )),
        synthesis=Transform(m, (
            AttentionGate(), Resample("up", n, 5), blocks, Resample("up", n, 5), AttentionGate(), blocks,
            Resample("up", n, 5), blocks, Resample("up", 3, 5),
        )),
        hyper_analysis=Transform(m, (
            Resample("down", n, 3, 1), Relu(), Resample("down", n, 5), Relu(), Resample("down", n, 5),
        )),
        hyper_synthesis=Transform(n, (
            Resample("up", n, 5), Relu(), Resample("up", n * 3 // 2, 5), Relu(), Resample("up", 2 * n, 3, 1),
        )),
        context=SpaceChannel(groups, hidden=hidden),
    )  # fmt: skip


Ffn = Literal["vanilla", "additive", "gated", "none"]
S2C_MIXERS: dict[str, Attention | SeparableConv | None] = {
    "I": None, "C": SeparableConv(), "A": Attention(8, 8, relative=False),
}  # fmt: skip


def s2c(
    name: str, arrangement: str, blocks: tuple[int, int, int] = (3, 3, 3), channels: tuple[int, int, int] = (192,) * 3,
    ffn: Ffn = "gated", latent: int = 320, hyper: int = 192,
    groups: tuple[int, ...] = (16, 16, 32, 64, 192), hidden: tuple[int, int] = (224, 128),
) -> Model:  # fmt: skip
    """Build S2CFormer (paper 004), recovered from its printed totals.

    ``arrangement``: the mixers of the three stages, I(dentity), C(onvolution) or A(ttention). The blocks of the
    hyper networks are of the one kind that the model has, attention in a hybrid.
    """

    def stage(kind: str, depth: int) -> Stage:
        return Stage(depth, S2C_MIXERS[kind], 4.0, shift=False, residual=False, ffn=ffn, norm_eps=1e-6)

    a, b, c = (stage(kind, depth) for kind, depth in zip(arrangement, blocks, strict=True))
    inner = stage(arrangement[0] if len(set(arrangement)) == 1 else "A", 2)
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", channels[0]), a, Resample("down", channels[1]), b, Resample("down", channels[2]), c,
            Resample("down", latent),
        )),
        synthesis=Transform(latent, (
            Resample("shuffle", channels[2]), c, Resample("shuffle", channels[1]), b,
            Resample("shuffle", channels[0]), a, Resample("shuffle", 3),
        )),
        hyper_analysis=Transform(latent, (
            Resample("down", hyper, 3, 1), inner, Resample("down", hyper), inner, Resample("down", hyper),
        )),
        hyper_synthesis=Transform(hyper, (
            Resample("up", hyper, 5), inner, Resample("up", hyper, 5), inner, Resample("down", 2 * hyper, 3, 1),
        )),
        context=SpaceChannel(groups, "s2c", "s2c", hidden),
    )  # fmt: skip


PAPER_PRESETS: dict[str, Callable[[], Model]] = {
    "tic-context": tic_context,
    "tic-context-2023": lambda: replace(tic_context(depths=(1, 2, 3, 1, 1)), name="tic-context-2023"),
    "tic-hyperprior-context": lambda: replace(tic(), name="tic-hyperprior-context", context=CausalAttention()),
    "ngram": lambda: with_ngram(tic(192, 320), "ngram"),
    "ngram-hyper": lambda: with_ngram(tic(192, 320), "ngram-hyper", "hyper"),
    "elic": elic,
    "s2c-identity": lambda: s2c("s2c-identity", "III"),
    "s2c-conv": lambda: s2c("s2c-conv", "CCC"),
    "s2c-attention": lambda: s2c("s2c-attention", "AAA"),
    "s2c-hybrid-s": lambda: s2c("s2c-hybrid-s", "CAA"),
    "s2c-hybrid-m": lambda: s2c("s2c-hybrid-m", "CAA", (3, 5, 5)),
    "s2c-hybrid-l": lambda: s2c("s2c-hybrid-l", "CAA", (3, 8, 8)),
    "s2c-hybrid-t": lambda: s2c("s2c-hybrid-t", "CAA", (3, 5, 8), (96, 192, 256)),
}

_S2C_VARIANTS: list[tuple[str, Ffn]] = [
    *((mixers, ffn) for mixers in ("CCC", "AAA") for ffn in ("none", "vanilla", "additive")),
    ("ACC", "gated"), ("CCA", "gated"),
]  # fmt: skip
PAPER_ABLATIONS: dict[str, Callable[[], Model]] = {
    **{
        f"s2c-{mixers.lower()}-{ffn}": partial(s2c, f"s2c-{mixers.lower()}-{ffn}", mixers, ffn=ffn)
        for mixers, ffn in _S2C_VARIANTS
    },
    "ngram-context": lambda: with_ngram(tic(192, 320), "ngram-context", cosine=False, post=False, tanh=False),
    "ngram-without-tag": lambda: with_ngram(tic(192, 320), "ngram-without-tag", tanh=False),
}
"""At full size, what papers 003 (Fig. 7) and 004 (Figs. 5 and 10, Table 2) compare with the models above."""
