"""HEIC (HEVC in HEIF) through pillow-heif, which encodes with x265 and decodes with libde265."""

from __future__ import annotations

import io

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.quality.pixels import Pixels
from promptcodec.system.extras import import_extra

# What libheif does unasked, as phones do, and the best that it does for PSNR.
PARAMETERS: dict[str, dict[str, str | int]] = {
    "heic": {"chroma": 420, "preset": "slow", "tune": "ssim"},
    "heic-psnr": {"chroma": 444, "preset": "veryslow", "tune": "psnr"},
}


class Heic(EvaluatedCodec):
    """libheif with fixed options of x265, by its name in PARAMETERS. Raises UsageError without the library."""

    settings = (4, 12, 22, 32, 42, 52, 62, 72)

    def __init__(self, name: str) -> None:
        self.name = name
        self._library = import_extra("pillow_heif", "pillow-heif", "peers")
        self.options = dict(PARAMETERS[name])
        heif = self._library.libheif_info()
        libraries = f"libheif {heif['libheif']}, {heif['HEIF']}, {heif['decoders']['libde265']}"
        self.version = f"pillow-heif {self._library.__version__}, {libraries}"

    def check(self, quality: float) -> None:
        if quality != int(quality) or not 0 <= quality <= 100:
            raise UsageError(f"{self.name} takes a whole quality from 0 to 100, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        file = io.BytesIO()
        size = (rgb.shape[1], rgb.shape[0])
        pixels = np.ascontiguousarray(rgb).tobytes()
        self._library.encode("RGB", size, pixels, file, quality=int(quality), enc_params=dict(self.options))
        return file.getvalue()

    def decode(self, data: bytes) -> Pixels:
        image = self._library.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        return np.asarray(image.to_pillow().convert("RGB"))
