"""Small variable-rate codecs of our own after paper 004, at most 3 M parameters, to be trained on equal terms."""

from __future__ import annotations

from promptcodec.model.config import Attention, Gain, Model, Resample, SeparableConv, Stage, Transform

WIDTHS = (48, 96, 160)


def _small(name: str, fine: Stage, middle: Stage, coarse: Stage) -> Model:
    """The frame of ``nano``: a linear block transform beside stages at 1/4, 1/8 and 1/16, all else equal."""
    a, b, c = WIDTHS
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
    """Hybrid: convolution at 1/4, attention (which takes prompts) at 1/8 and 1/16; gated feed-forward halves."""

    def stage(depth: int, mixer: Attention | SeparableConv) -> Stage:
        return Stage(depth, mixer, 2.0, shift=False, residual=False, ffn="gated", norm_eps=1e-6)

    return _small(
        "s2c-nano", stage(1, SeparableConv()), stage(2, Attention(3, 8, relative=False)),
        stage(2, Attention(5, 8, relative=False)),
    )  # fmt: skip


def swin_nano() -> Model:
    """The twin of ``s2c-nano``: shifted windows and plain MLPs, as wide as makes the multiply-accumulates equal."""

    def stage(depth: int, heads: int, ratio: float) -> Stage:
        return Stage(depth, Attention(heads, 8), ratio, residual=False)

    return _small("swin-nano", stage(1, 2, 0.9375), stage(2, 3, 3.0), stage(2, 5, 3.0))


SMALL_PRESETS = {"s2c-nano": s2c_nano, "swin-nano": swin_nano}
