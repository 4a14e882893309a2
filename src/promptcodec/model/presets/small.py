"""``small``: a transformer base that prompts can steer, with attention at 1/8 and 1/16 on both sides; and its rivals.

All have contextual means, and a gate on the linear shortcut. ``docs/training.md`` has what they were compared by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from promptcodec.model.config import (
    Attention,
    ContextualMean,
    Depthwise,
    Gain,
    LeakyReLU,
    Model,
    Resample,
    Stage,
    Transform,
)  # fmt: skip

Z_LIMIT = 64.0  # z of photos stays below 40
LOG_SCALE_LIMIT = 6.0  # of photos, log scales stay within 4 of their channel's mean

_HYPER = Stage(1, None, residual=False)


def _attention(depth: int, channels: int, gated: bool = True, grown: bool = False) -> Stage:
    """Return the blocks of shifted windows of 8 x 8 in heads of 32 channels.

    ``grown`` ones pass their input through at first.
    """
    return Stage(
        depth, Attention(channels // 32, 8), residual=False, ffn="gated" if gated else "mlp", zero_init=grown
    )  # fmt: skip


def scales(hyper: int = 64, latent: int = 320) -> Transform:
    """Return a hyper synthesis for log scales: products, sums and a comparison, so that any float64 library can compute
    it.
    """
    slope = LeakyReLU(0.125)
    return Transform(hyper, (
        Resample("up", 128), slope, Resample("down", 128, 3, 1), slope, Resample("shuffle", 192, 1), slope,
        Resample("down", 192, 1, 1), slope, Resample("down", latent, 1, 1, zero_init=True),
    ), bound=LOG_SCALE_LIMIT)  # fmt: skip


def mean_features(hyper: int = 64, grown: bool = False) -> ContextualMean:
    """Return the features like ``nano``'s hyper synthesis, then an attention block at 1/16."""
    return ContextualMean(Transform(hyper, (
        Resample("up", 128), _HYPER, Resample("shuffle", 192, 1), _HYPER, _attention(1, 192, grown=grown),
    )))  # fmt: skip


def small(name: str = "small-linear", gated: bool = True, gate: bool = True, means: bool = True) -> Model:
    """Build attention all the way, from a linear start."""
    fine, coarse = partial(_attention, channels=160, gated=gated), partial(_attention, channels=224, gated=gated)
    model = Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", 160, 0, 8), fine(2), Resample("down", 224), coarse(2),
            Resample("down", 320, 1, 1, zero_init=True),
        ), shortcut=16, gate=gate),
        synthesis=Transform(320, (
            Resample("down", 224, 1, 1), coarse(2), Resample("shuffle", 160, 1), fine(3),
            Resample("shuffle", 3, 1, 8, zero_init=True),
        ), shortcut=16, gate=gate),
        hyper_analysis=Transform(320, (Resample("down", 128), _HYPER, Resample("down", 64)), bound=Z_LIMIT),
        hyper_synthesis=scales(),
        scale="log",
        gain=Gain(0.0009, 0.1),
        context=mean_features(),
    )  # fmt: skip
    return model if means else _without_means(model)


def grown(name: str = "small", gated: bool = True, gate: bool = True, means: bool = True) -> Model:
    """Return ``nano`` with attention behind its stages at 1/8 and 1/16: every new branch is zero at first, so that it
    begins as ``nano``, whatever training that has seen.
    """
    local, attention = Depthwise(5), Attention(6, 8)
    new = partial(_attention, gated=gated, grown=True)
    model = Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", 64, 0, 4), Stage(1, local, residual=False),
            Resample("down", 128), Stage(2, local, residual=False), new(2, 128),
            Resample("down", 192), Stage(2, attention, residual=False), new(2, 192),
            Resample("down", 320, 1, 1, zero_init=True),
        ), shortcut=16, gate=gate),
        synthesis=Transform(320, (
            Resample("down", 192, 1, 1), Stage(2, attention, residual=False), new(2, 192),
            Resample("shuffle", 128, 1), Stage(3, local, residual=False), new(2, 128),
            Resample("shuffle", 64, 1), Stage(2, local, residual=False),
            Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16, gate=gate),
        hyper_analysis=Transform(320, (Resample("down", 128), _HYPER, Resample("down", 64)), bound=Z_LIMIT),
        hyper_synthesis=scales(),
        scale="log",
        gain=Gain(0.0009, 0.1),
        context=mean_features(grown=True),
    )  # fmt: skip
    return model if means else _without_means(model)


def _without_means(model: Model) -> Model:
    """Return the same with ``nano``'s hyperprior: scales and means at once, without bounds."""
    hyper = Transform(64, (
        Resample("up", 128), _HYPER, Resample("shuffle", 192, 1), _HYPER, Resample("down", 640, 1, 1, zero_init=True),
    ))  # fmt: skip
    plain = dataclasses.replace(model.hyper_analysis, bound=0.0)
    return dataclasses.replace(model, hyper_analysis=plain, hyper_synthesis=hyper, context=None)


SMALL_VARIANTS: dict[str, Callable[[], Model]] = {
    "small-linear": small,
    "small-linear-mlp": lambda: small("small-linear-mlp", gated=False),
    "small-linear-no-gate": lambda: small("small-linear-no-gate", gate=False),
    "small-linear-no-means": lambda: small("small-linear-no-means", means=False),
    "small-mlp": lambda: grown("small-mlp", gated=False),
    "small-no-gate": lambda: grown("small-no-gate", gate=False),
    "small-no-means": lambda: grown("small-no-means", means=False),
}
