"""Configurations of the papers' other backbones and entropy models: data, not classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from promptcodec.model.config import Attention, Model, Stage, Transform

Scope = Literal["all", "main", "hyper"]


def map_stages(transform: Transform, change: Callable[[Stage], Stage]) -> Transform:
    """``transform`` with every stage changed."""
    layers = tuple(change(layer) if isinstance(layer, Stage) else layer for layer in transform.layers)
    return replace(transform, layers=layers)


def with_ngram(
    base: Model, name: str, scope: Scope = "all", ngram: int = 2, cosine: bool = True, post: bool = True,
    tanh: bool = True,
) -> Model:  # fmt: skip
    """``base``, a Swin codec, with the four switches of paper 003, each by itself.

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
