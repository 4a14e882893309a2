"""The rate-quality curve of one picture, from latents that were analysed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from promptcodec.codec.analysed_picture import AnalysedPicture
from promptcodec.quality.psnr import psnr

QUALITIES = (0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 100.0)


@dataclass(frozen=True)
class RatePoint:
    """A file of the picture: ``bytes``, ``bpp`` in bits per pixel, ``psnr`` in dB over RGB."""

    quality: float
    bytes: int
    bpp: float
    psnr: float


def rate_curve(
    picture: AnalysedPicture, qualities: Sequence[float] = QUALITIES, *,
    settings: Mapping[str, float] | None = None, look: float | None = None,
) -> Iterator[RatePoint]:  # fmt: skip
    """Yield a point for each quality, in their order, as soon as it is known. Raises as ``AnalysedPicture.encode``
    does."""
    rgb = picture.picture.rgb
    for quality in qualities:
        data, decoded = picture.encode_and_decode(quality, settings=settings, look=look)
        yield RatePoint(quality, len(data), 8 * len(data) / (rgb.size // 3), psnr(rgb, decoded.rgb))
