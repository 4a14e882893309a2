"""Configurations of the tiny models that files of every feature are made with."""

from __future__ import annotations

import dataclasses

from promptcodec.model.config import (
    Attention,
    CausalAttention,
    ContextualMean,
    Depthwise,
    Gain,
    Layer,
    LeakyReLU,
    Model,
    Resample,
    SpaceChannel,
    Stage,
    Transform,
)

LATENT, HYPER = 12, 6


def tiny(name: str, context: SpaceChannel | CausalAttention | ContextualMean | None, gain: bool) -> Model:
    """Every kind of layer of ``nano``, as narrow as can be; with contextual means, also of ``small``."""
    coarse, local = Stage(2, Attention(2, 8), residual=False), Stage(1, Depthwise(3), residual=False)
    parameters = 24 if context is not None else 2 * LATENT
    hyper: tuple[Layer, ...] = (Resample("up", 8), Resample("shuffle", parameters, 1))
    means = isinstance(context, ContextualMean)
    if means:
        hyper = (Resample("up", 8), LeakyReLU(0.125), Resample("shuffle", LATENT, 1))
        coarse = dataclasses.replace(coarse, ffn="gated")
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", 6, 0, 4), local, Resample("down", 8), Resample("down", 8), coarse,
            Resample("down", LATENT, 1, 1),
        ), shortcut=16, gate=means),
        synthesis=Transform(LATENT, (
            Resample("down", 8, 1, 1), coarse, Resample("shuffle", 8, 1), Resample("shuffle", 6, 1), local,
            Resample("shuffle", 3, 3, 4),
        ), shortcut=16, gate=means),
        hyper_analysis=Transform(LATENT, (Resample("down", 8), Resample("down", HYPER)), bound=64.0 if means else 0.0),
        hyper_synthesis=Transform(HYPER, hyper, bound=6.0 if means else 0.0),
        scale="log", gain=Gain(0.001, 0.1, 3) if gain else None, context=context,
    )  # fmt: skip


MODELS = {
    "tiny": tiny("conformance-tiny", None, True),
    "tiny-space-channel": tiny("conformance-space-channel", SpaceChannel((4, 8), hidden=(8, 8)), True),
    "tiny-causal": tiny("conformance-causal", CausalAttention(5, 2, 1.0), False),
    "tiny-contextual-mean": tiny("conformance-contextual-mean", ContextualMean(
        Transform(HYPER, (Resample("up", 8), Resample("shuffle", 8, 1), Stage(1, Attention(2, 8)))), hidden=8,
    ), True),
}  # fmt: skip
