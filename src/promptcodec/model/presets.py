"""Named model configurations: data, not classes."""

from __future__ import annotations

import dataclasses

from promptcodec.model.config import (
    Attention,
    Depthwise,
    Gain,
    Gdn,
    LeakyReLU,
    Model,
    ReflectConv,
    Resample,
    Stage,
    Transform,
)


def tic(channels: int = 128, latent: int = 192, name: str = "tic") -> Model:
    """The Swin codec with a hyperprior that papers 000, 001, 002 and 003 build on (``TIC_hp`` in their code).

    ``channels`` is N, ``latent`` is M. 7,510,723 parameters with (128, 192), 17,658,179 with (192, 320).
    """
    n, m = channels, latent
    fine, coarse = Attention(8, 8), Attention(16, 8)
    hyper = Attention(16, 4)
    # The smallest map of the reference's nominal 256² picture is one window: its blocks never shift.
    return Model(
        name=name,
        analysis=Transform(3, (
            Resample("down", n, 5), Stage(2, fine), Resample("down", n), Stage(4, fine),
            Resample("down", n), Stage(6, fine), Resample("down", m), Stage(2, coarse),
        ), drop_path=0.1),
        synthesis=Transform(m, (
            Stage(2, coarse), Resample("up", n), Stage(6, fine), Resample("up", n),
            Stage(4, fine), Resample("up", n), Stage(2, fine), Resample("up", 3, 5),
        ), drop_path=0.1),
        hyper_analysis=Transform(m, (
            Resample("down", n), Stage(2, hyper), Resample("down", n), Stage(2, hyper, shift=False),
        ), drop_path=0.1),
        hyper_synthesis=Transform(n, (
            Stage(2, hyper, shift=False), Resample("up", n), Stage(2, hyper), Resample("up", 2 * m),
        ), drop_path=0.1),
    )  # fmt: skip


def base() -> Model:
    """The ``tic`` transforms with a continuous variable rate: gain vectors on y and z (Cui et al. 2021).

    Scales stay raw and are, like the means, multiplied by the gain of y: at gain one it is the fixed-rate model.
    """
    return dataclasses.replace(tic(name="base"), gain=Gain(0.0018, 0.0932))


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


def song(channels: int = 192) -> Model:
    """Song et al.'s CNN codec (ICCV 2021) without what steers it: that is ``steer.song.QualityMap``.

    Stages of depth 0 mark where its feature transforms act. Sides of a picture are at least 65 pixels: at 64, the
    reflection has nothing to reflect.
    """
    n, site = channels, Stage(0, None, residual=False)
    encoder = tuple(
        layer
        for width, stride in ((n // 4, 1), (n // 2, 2), (n, 2), (n, 2))
        for layer in (ReflectConv(width, 5, stride), Gdn(), site)
    )
    decoder = tuple(
        layer for width in (n, n, n // 2, n // 4) for layer in (Resample("up", width, 5), Gdn(inverse=True), site)
    )
    leaky = LeakyReLU(0.01)
    return Model(
        name="song",
        analysis=Transform(3, (*encoder, ReflectConv(n), site)),
        synthesis=Transform(n, (site, *decoder, ReflectConv(3, 5, 1))),
        hyper_analysis=Transform(n, (
            ReflectConv(n, 3, 1), site, leaky, ReflectConv(n), site, leaky, ReflectConv(n), site,
        )),
        hyper_synthesis=Transform(n, (
            Resample("up", n, 5), leaky, Resample("up", 3 * n // 2, 5), leaky, Resample("down", 2 * n, 3, 1),
        )),
    )  # fmt: skip


PRESETS = {
    "tic": tic,
    "base": base,
    "tic-large": lambda: tic(192, 320, "tic-large"),
    "nano": nano,
    "song": song,
}
