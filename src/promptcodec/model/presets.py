"""Named model configurations: data, not classes."""

from __future__ import annotations

from collections.abc import Callable

from promptcodec.model.config import Attention, Depthwise, Gain, Model, Resample, Stage, Transform
from promptcodec.model.paper_presets import PAPER_PRESETS
from promptcodec.model.small_presets import SMALL_PRESETS
from promptcodec.model.tic_preset import tic


def nano() -> Model:
    """A small variable-rate codec of our own, made to be trained and run on CPUs.

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
    "tic-large": lambda: tic(192, 320, "tic-large"),
    "nano": nano,
    **SMALL_PRESETS,
    **PAPER_PRESETS,
}
