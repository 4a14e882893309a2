"""JPEG XL through imagecodecs, as Pillow has no JPEG XL of its own."""

from __future__ import annotations

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.quality.pixels import Pixels
from promptcodec.system.extras import import_extra


class JpegXl(EvaluatedCodec):
    """libjxl's lossy mode; the setting is its distance. Raises UsageError without the library."""

    name = "jpegxl"
    settings = (0.5, 1.0, 1.8, 3.0, 5.0, 8.0, 13.0, 20.0)
    extremes = (25, 0.01)
    quality_scale = whole_settings = False

    def __init__(self) -> None:
        self._library = import_extra("imagecodecs", "imagecodecs")
        self.options = {"effort": 7}
        self.version = f"imagecodecs {self._library.__version__}, {self._library.jpegxl_version()}"

    def check(self, quality: float) -> None:
        if not 0.01 <= quality <= 25:
            raise UsageError(f"jpegxl takes a distance from 0.01 to 25, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        data: bytes = self._library.jpegxl_encode(rgb, distance=float(quality), usecontainer=False, **self.options)
        return data

    def decode(self, data: bytes) -> Pixels:
        pixels: Pixels = self._library.jpegxl_decode(data)
        return pixels
