"""The model of short experiments on training."""

from __future__ import annotations

from promptcodec.model.config import Attention, Depthwise, Gain, Model, Resample, Stage, Transform


def narrow() -> Model:
    """Build nano's plan at half its widths: what a minute of one core can teach something."""
    local, attention = Depthwise(5), Attention(3, 8)
    return Model(
        name="narrow",
        analysis=Transform(3, (
            Resample("down", 32, 0, 4), Stage(1, local, residual=False),
            Resample("down", 64), Stage(2, local, residual=False),
            Resample("down", 96), Stage(2, attention, residual=False),
            Resample("down", 192, 1, 1, zero_init=True),
        ), shortcut=16),
        synthesis=Transform(192, (
            Resample("down", 96, 1, 1), Stage(2, attention, residual=False),
            Resample("shuffle", 64, 1), Stage(3, local, residual=False),
            Resample("shuffle", 32, 1), Stage(2, local, residual=False),
            Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=Transform(192, (
            Resample("down", 64), Stage(1, None, residual=False), Resample("down", 32),
        )),
        hyper_synthesis=Transform(32, (
            Resample("up", 64), Stage(1, None, residual=False), Resample("shuffle", 96, 1),
            Stage(1, None, residual=False), Resample("down", 384, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=Gain(0.0009, 0.1),
    )  # fmt: skip
