"""The configuration of Song et al.'s codec."""

from __future__ import annotations

from promptcodec.model.config import Gdn, LeakyReLU, Model, ReflectConv, Resample, Stage, Transform


def song(channels: int = 192) -> Model:
    """Build Song et al.'s CNN codec (ICCV 2021) without what steers it: that is ``steer.methods.song.QualityMap``.

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
