"""The classical codecs that ours is compared with, through Pillow and in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.quality.pixels import Pixels


@dataclass(frozen=True)
class Format:
    """A Pillow encoder with fixed options; the setting is a quality, or a rate in bits per pixel."""

    pillow_name: str
    feature: str
    settings: tuple[float, ...]
    options: dict[str, Any] = field(default_factory=dict)
    rate: bool = False


_JPEG = {"optimize": True, "progressive": True}
_JPEG_SETTINGS = (5, 12, 25, 40, 60, 75, 88, 95)
# One thread: with more of them libavif cuts the picture into tiles, and the file depends on the machine.
_AVIF = {"speed": 6, "max_threads": 1}
_AVIF_PSNR = {"max_threads": 1, "subsampling": "4:4:4", "advanced": {"tune": "psnr"}}
_AVIF_SETTINGS = (8, 16, 26, 38, 50, 62, 76, 88)

ANCHORS = {
    "jpeg": Format("JPEG", "jpg", _JPEG_SETTINGS, {**_JPEG, "subsampling": "4:2:0"}),
    "jpeg-444": Format("JPEG", "jpg", _JPEG_SETTINGS, {**_JPEG, "subsampling": "4:4:4"}),
    "webp": Format("WEBP", "webp", (0, 10, 30, 50, 70, 80, 90, 97), {"method": 6}),
    "jpeg2000": Format(
        "JPEG2000",
        "jpg_2000",
        (0.08, 0.15, 0.25, 0.4, 0.65, 1.0, 1.5, 2.2),
        {"irreversible": True, "mct": 1, "no_jp2": True},
        rate=True,
    ),
    "avif": Format("AVIF", "avif", _AVIF_SETTINGS, _AVIF),
    "avif-s8": Format("AVIF", "avif", _AVIF_SETTINGS, {**_AVIF, "speed": 8}),
    "avif-psnr": Format("AVIF", "avif", _AVIF_SETTINGS, {**_AVIF_PSNR, "speed": 6}),
    "avif-psnr-s4": Format("AVIF", "avif", _AVIF_SETTINGS, {**_AVIF_PSNR, "speed": 4}),
}


class Anchor(EvaluatedCodec):
    """A classical codec, by its name in ANCHORS. Raises UsageError where this Pillow was built without it."""

    def __init__(self, name: str) -> None:
        self._format = ANCHORS[name]
        if not features.check(self._format.feature):
            raise UsageError(f"this Pillow {pillow_version} was built without {self._format.pillow_name}")
        self.name = name
        self.options = self._format.options
        self.settings = self._format.settings
        self.quality_scale = self.whole_settings = not self._format.rate
        self.extremes = (0.01, 24) if self._format.rate else (self._lowest, 100)
        self.version = f"Pillow {pillow_version}, {_library(self._format.feature)}"

    @property
    def _lowest(self) -> int:
        return 1 if self._format.pillow_name == "JPEG" else 0  # to Pillow 0 is "the default"

    def check(self, quality: float) -> None:
        if self._format.rate:
            if not 0 < quality <= 24:
                raise UsageError(f"{self.name} takes 0 to 24 bits per pixel, without 0, not {quality:g}")
            return
        if quality != int(quality) or not self._lowest <= quality <= 100:
            raise UsageError(f"{self.name} takes a whole quality from {self._lowest} to 100, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        if self._format.rate:
            # Each resolution level halves the picture: small ones have room for fewer than the usual six.
            levels = min(6, min(rgb.shape[:2]).bit_length())
            setting = {"quality_mode": "rates", "quality_layers": [24 / quality], "num_resolutions": levels}
        else:
            setting = {"quality": int(quality)}
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, self._format.pillow_name, **self.options, **setting)
        return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))


def _library(feature: str) -> str:
    if feature == "jpg" and (turbo := features.version("libjpeg_turbo")):
        return f"libjpeg-turbo {turbo}"
    library = {"jpg": "libjpeg", "webp": "libwebp", "jpg_2000": "OpenJPEG", "avif": "libavif"}[feature]
    return f"{library} {features.version(feature)}"
