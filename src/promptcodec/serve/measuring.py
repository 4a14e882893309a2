"""What a measuring worker does: what the page shows beside a picture. It keeps nothing between two jobs."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.api import codec_for, load
from promptcodec.quality.ms_ssim import ms_ssim_of_pixels
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.ssimulacra2 import ssimulacra2
from promptcodec.serve.messages import Arguments, Blobs, Check, Message, Operation

CURVE_QUALITIES = (5, 20, 40, 60, 80, 95)


def operations() -> dict[str, Operation]:
    """By name."""
    load()
    return {"metrics": metrics, "peer": peer, "curve": curve}


def metrics(arguments: Arguments, blobs: Blobs, check: Check) -> Message:
    """Measures of the blob ``picture`` against the blob ``original``."""
    return Message(_measured(_pixels(blobs["original"]), _pixels(blobs["picture"])))


def peer(arguments: Arguments, blobs: Blobs, check: Check) -> Message:
    """The blob ``original`` by the codec ``codec``, in about ``bytes`` bytes: measures, and the blob ``picture``."""
    from promptcodec.evaluate.codecs.registry import open_codec
    from promptcodec.evaluate.compare import closest_setting

    original, codec = _pixels(blobs["original"]), open_codec(arguments["codec"])
    data = codec.encode(original, closest_setting(codec, original, arguments["bytes"]))
    check()
    decoded = codec.decode(data)
    file = io.BytesIO()
    Image.fromarray(decoded).save(file, "PNG", compress_level=1)
    return Message({"bytes": len(data)} | _measured(original, decoded), {"picture": file.getvalue()})


def curve(arguments: Arguments, blobs: Blobs, check: Check) -> Message:
    """Rate and PSNR of the blob ``original`` over the quality, by ``model``."""
    original, codec = _pixels(blobs["original"]), load(arguments.get("model"))
    points = []
    for quality in CURVE_QUALITIES:
        check()
        data = codec.encode(original, quality)
        decoded = codec_for(data).decode_picture(data).rgb
        points.append(
            {
                "quality": quality, "bytes": len(data), "bpp": 8 * len(data) / original[:, :, 0].size,
                "psnr": _finite(psnr(original, decoded)),
            }
        )  # fmt: skip
    return Message({"points": points})


def _pixels(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def _measured(original: Pixels, decoded: Pixels) -> dict[str, float | None]:
    return {
        "psnr": _finite(psnr(original, decoded)), "ms_ssim": _finite(ms_ssim_of_pixels(original, decoded)),
        "ssimulacra2": _finite(ssimulacra2(original, decoded)),
    }  # fmt: skip


def _finite(value: float | None) -> float | None:
    """JSON has no infinity, which is the PSNR of equal pictures."""
    return value if value is not None and math.isfinite(value) else None
