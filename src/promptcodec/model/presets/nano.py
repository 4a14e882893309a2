"""``nano``, a small variable-rate codec of our own, and the same plan at half its widths."""

from __future__ import annotations

from promptcodec.model.config import Attention, Depthwise, Gain, Model, Resample, Stage, Transform


def nano() -> Model:
    """Return a small variable-rate codec of our own, made to be trained and run on CPUs.

    A linear block transform carries the picture from the first step on and the blocks learn the rest: depthwise
    mixers where maps are large, window attention (which takes prompts) at 1/16.
    """
    return _plan("nano", (64, 128, 192), latent=320, hyper=64, heads=6)


def narrow() -> Model:
    """Build nano's plan at half its widths: what a minute of one core can teach something."""
    return _plan("narrow", (32, 64, 96), latent=192, hyper=32, heads=3)


def _plan(name: str, widths: tuple[int, int, int], latent: int, hyper: int, heads: int) -> Model:
    """Build a codec whose maps at 1/4, 1/8 and 1/16 have ``widths`` channels."""
    fine, middle, coarse = widths
    local, attention, pointwise = Depthwise(5), Attention(heads, 8), Stage(1, None, residual=False)
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", fine, 0, 4), Stage(1, local, residual=False),
            Resample("down", middle), Stage(2, local, residual=False),
            Resample("down", coarse), Stage(2, attention, residual=False),
            Resample("down", latent, 1, 1, zero_init=True),
        ), shortcut=16),
        synthesis=Transform(latent, (
            Resample("down", coarse, 1, 1), Stage(2, attention, residual=False),
            Resample("shuffle", middle, 1), Stage(3, local, residual=False),
            Resample("shuffle", fine, 1), Stage(2, local, residual=False),
            Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=Transform(latent, (Resample("down", middle), pointwise, Resample("down", hyper))),
        hyper_synthesis=Transform(hyper, (
            Resample("up", middle), pointwise, Resample("shuffle", coarse, 1),
            pointwise, Resample("down", 2 * latent, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=Gain(0.0009, 0.1),
    )  # fmt: skip
