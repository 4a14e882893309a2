"""What a measuring worker does: what the page shows beside a picture. It keeps nothing between two jobs."""

from __future__ import annotations

import io
import math
from dataclasses import asdict
from typing import Any

from PIL import Image

from promptcodec.api import codec_for, info, load
from promptcodec.evaluate.bit_overlay import bit_overlay
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.equal_bytes import peer_file
from promptcodec.evaluate.rate_curve import rate_curve
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.quality.measures import Measures, measures
from promptcodec.serve.messages import Arguments, Blobs, Check, Message, Operation
from promptcodec.serve.screen import VIEW_PIXELS, at_view_size, browser_file


class Measuring:
    """The operations."""

    def __init__(self, max_pixels: int, nearby: bool) -> None:
        """``nearby``: see ``browser_file``."""
        self._max_pixels, self._nearby = max_pixels, nearby

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {"metrics": self.metrics, "peer": self.peer, "curve": self.curve, "bits": self.bits}

    def metrics(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Measures of the blob ``picture`` against the blob ``original``."""
        original, picture = (self._read(blobs[name]) for name in ("original", "picture"))
        return Message(_facts(measures(original.rgb, picture.rgb)))

    def peer(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return the best file of ``codec`` for the blob ``original`` in at most ``bytes`` bytes.

        Its size and measures, and its picture as the blob ``picture``.
        """
        original = self._read(blobs["original"])
        peer = peer_file(open_codec(arguments["codec"]), original.rgb, arguments["bytes"])
        shown = browser_file(Picture(peer.pixels, icc=original.icc), self._nearby)
        return Message({"bytes": len(peer.data)} | _facts(peer.measures), {"picture": shown})

    def curve(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Rate and PSNR over the quality: of the blob ``source`` at the size of views, by ``model``.

        With ``look``, and the region in the blob ``mask`` where there is one.
        """
        view = at_view_size(self._read(blobs["source"]))
        roi = self._read(blobs["mask"]) if "mask" in blobs else None
        points = []
        for point in rate_curve(load(arguments["model"]).analysed(view, roi=roi), look=arguments["look"]):
            check()
            points.append(asdict(point) | {"psnr": _finite(point.psnr)})
        return Message({"points": points})

    def bits(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return where the bits of the blob ``file`` go, as a transparent PNG, ``overlay``; ``low`` and ``high`` of its
        scale.

        ``scale``: [low, high] in bits per pixel, or None for the file's own.
        """
        data, scale = blobs["file"], arguments["scale"]
        about = info(data)
        bits = codec_for(data).bit_allocation(data, max_pixels=self._max_pixels)
        drawn = bit_overlay(bits, about.height, about.width, None if scale is None else tuple(scale))
        image, file = drawn.image(), io.BytesIO()
        if (share := VIEW_PIXELS / (about.width * about.height)) < 1:
            size = (max(1, int(side * math.sqrt(share))) for side in image.size)
            image = image.resize((next(size), next(size)), Image.Resampling.NEAREST)
        image.save(file, "PNG")
        return Message({"low": drawn.low, "high": drawn.high, "unit": "bits per pixel"}, {"overlay": file.getvalue()})

    def _read(self, data: bytes) -> Picture:
        return read(data, self._max_pixels)


def _facts(values: Measures) -> dict[str, Any]:
    return {name: _finite(value) for name, value in asdict(values).items()}


def _finite(value: float | None) -> float | None:
    """JSON has no infinity, which is the PSNR of equal pictures."""
    return value if value is not None and math.isfinite(value) else None
