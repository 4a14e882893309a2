"""Named model configurations: data, not classes."""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Callable

from promptcodec.model.config import Attention, Depthwise, Gain, Model, Resample, Stage, Transform
from promptcodec.model.presets.backbones import ABLATIONS, SMALL_PRESETS
from promptcodec.model.presets.narrow import narrow
from promptcodec.model.presets.papers import PAPER_ABLATIONS, PAPER_PRESETS
from promptcodec.model.presets.small import SMALL_VARIANTS, grown
from promptcodec.model.presets.song import song
from promptcodec.model.presets.tic import tic


def base() -> Model:
    """Return the ``tic`` transforms with a continuous variable rate: gain vectors on y and z (Cui et al. 2021).

    Scales stay raw and are, like the means, multiplied by the gain of y: at gain one it is the fixed-rate model.
    """
    return dataclasses.replace(tic(name="base"), gain=Gain(0.0018, 0.0932))


def nano() -> Model:
    """Return a small variable-rate codec of our own, made to be trained and run on CPUs.

    A linear block transform carries the picture from the first step on and the blocks learn the rest: depthwise
    mixers where maps are large, window attention (which takes prompts) at 1/16.
    """
    local, attention = Depthwise(5), Attention(6, 8)
    return Model(
        name="nano",
        analysis=Transform(3, (
            Resample("down", 64, 0, 4), Stage(1, local, residual=False),
            Resample("down", 128), Stage(2, local, residual=False),
            Resample("down", 192), Stage(2, attention, residual=False),
            Resample("down", 320, 1, 1, zero_init=True),
        ), shortcut=16),
        synthesis=Transform(320, (
            Resample("down", 192, 1, 1), Stage(2, attention, residual=False),
            Resample("shuffle", 128, 1), Stage(3, local, residual=False),
            Resample("shuffle", 64, 1), Stage(2, local, residual=False),
            Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=Transform(320, (
            Resample("down", 128), Stage(1, None, residual=False), Resample("down", 64),
        )),
        hyper_synthesis=Transform(64, (
            Resample("up", 128), Stage(1, None, residual=False), Resample("shuffle", 192, 1),
            Stage(1, None, residual=False), Resample("down", 640, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=Gain(0.0009, 0.1),
    )  # fmt: skip


PRESETS: dict[str, Callable[[], Model]] = {
    "tic": tic,
    "base": base,
    "tic-large": lambda: tic(192, 320, "tic-large"),
    "nano": nano,
    "small": grown,
    "song": song,
    **SMALL_PRESETS,
    **PAPER_PRESETS,
}

CONFIGURATIONS = ChainMap(PRESETS, ABLATIONS, PAPER_ABLATIONS, SMALL_VARIANTS, {"narrow": narrow})
"""All names that a recipe may give: the presets, and the variants of ``recipes/grids``, experiments and ablations."""
