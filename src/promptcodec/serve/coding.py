"""What a coding worker does: encode and decode for programs, and open pictures and make views of them for the page."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from promptcodec.api import codec_for, info, load, opened
from promptcodec.bitstream.container import SIGNATURE
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.search import Target
from promptcodec.errors import UsageError
from promptcodec.picture.metadata_facts import metadata_facts
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.write import write
from promptcodec.serve.messages import Message

if TYPE_CHECKING:
    from promptcodec.serve.worker import Operation

VIEW_PIXELS = 2_000_000  # of a view, at most: a screen's

Arguments = dict[str, Any]
Blobs = dict[str, bytes]
Check = Callable[[], None]


class Coding:
    """The operations, and what a process keeps between them."""

    def __init__(self, max_pixels: int, latent_memory: int) -> None:
        self._max_pixels, self._latent_memory = max_pixels, latent_memory
        load()

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {
            "encode": self.encode, "decode": self.decode, "info": self.info,
            "open": self.open, "region": self.region, "view": self.view, "picture": self.picture,
        }  # fmt: skip

    def encode(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """A .ptc file of the blob ``picture``. ``arguments``: ``options`` of ``promptcodec.encode``, and ``model``."""
        options = dict(arguments["options"])
        target = options.pop("target", None)
        maps = options.pop("maps", {}) | {name: blobs[name] for name in blobs if name != "picture"}
        picture = read(blobs["picture"], self._max_pixels)
        data = load(arguments.get("model")).encode(
            picture, target=None if target is None else Target(*target), maps=_maps(maps, self._max_pixels),
            progress=lambda *_: check(), **options,
        )  # fmt: skip
        return Message({}, {"file": data})

    def decode(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """The picture in the blob ``file``. ``arguments``: ``format`` (an extension), ``look``, ``settings``, ``crop``."""
        crop = arguments.get("crop")
        picture = self._decoded(
            blobs["file"], check, look=arguments.get("look"), settings=arguments.get("settings"),
            crop=None if crop is None else Rect(*crop),
        )  # fmt: skip
        if arguments.get("strip"):
            picture = picture.stripped()
        file = io.BytesIO()
        write(picture, file, arguments.get("format") or "png")
        return Message({}, {"picture": file.getvalue()})

    def info(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """What the blob ``file`` says of itself, see ``promptcodec.info``."""
        from dataclasses import asdict

        return Message(asdict(info(blobs["file"])))

    def open(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Facts of the blob ``source``, a picture or a .ptc file, and the blob ``original``: it at the size of views."""
        begin, data = time.perf_counter(), blobs["source"]
        facts: dict[str, Any] = {"kind": "picture", "look": None, "quality": None, "model": None}
        if data.startswith(SIGNATURE):
            held = info(data)
            picture = self._decoded(data, check)
            facts |= {"kind": "ptc", "quality": held.quality, "model": held.model, "look": None}
        else:
            picture = read(data, self._max_pixels)
        height, width = picture.rgb.shape[:2]
        view = _at_view_size(picture)
        facts |= {
            "width": width, "height": height, "view_width": view.rgb.shape[1], "view_height": view.rgb.shape[0],
            "bytes": len(data), "metadata": _sentences(picture), "seconds": round(time.perf_counter() - begin, 3),
        }  # fmt: skip
        return Message(facts, {"original": _png(view)})

    def region(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """The blob ``mask``, a picture, as a grey PNG of the same size, its values times ``strength``."""
        from PIL import Image

        picture = read(blobs["mask"], self._max_pixels)
        strength = arguments["strength"]
        grey = Image.fromarray(picture.rgb).convert("L").point([round(strength * value) for value in range(256)])
        file = io.BytesIO()
        grey.save(file, "PNG")
        return Message({}, {"mask": file.getvalue()})

    def view(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """A file of the blob ``source`` at the size of views (or ``full``), and its picture as a PNG.

        ``arguments``: ``model``, ``quality`` or ``target`` [kind, value], ``look``, ``effort``, ``strip``, ``full``;
        the blob ``mask``, where there is one, is the region.
        """
        begin, source = time.perf_counter(), blobs["source"]
        if source.startswith(SIGNATURE):
            picture = self._decoded(source, check, look=arguments.get("look"))
            return self._view_facts(source, picture, begin, blobs={"picture": _png(_at_view_size(picture))})
        picture = read(source, self._max_pixels)
        view = picture if arguments.get("full") else _at_view_size(picture)
        codec, target = load(arguments.get("model")), arguments.get("target")
        data = codec.encode(
            view, arguments.get("quality"), target=None if target is None else Target(*target),
            look=arguments.get("look"), effort=arguments.get("effort", 0), strip=arguments.get("strip", False),
            maps={"roi": blobs["mask"]} if "mask" in blobs else None, progress=lambda *_: check(),
        )  # fmt: skip
        if arguments.get("full"):
            return self._view_facts(data, picture, begin)
        return self._view_facts(data, picture, begin, {"picture": _png(codec.decode_picture(data).stripped())})

    def picture(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """The blob ``file``, decoded, as a PNG at the size of views."""
        return Message({}, {"picture": _png(_at_view_size(self._decoded(blobs["file"], check)))})

    def _view_facts(
        self, data: bytes, whole: Picture, begin: float, blobs: Mapping[str, bytes] | None = None
    ) -> Message:
        held = info(data)
        seconds = time.perf_counter() - begin
        height, width = whole.rgb.shape[:2]
        share = height * width / (held.width * held.height)
        facts = {
            "bytes": len(data), "bpp": held.bpp, "quality": held.quality, "width": held.width, "height": held.height,
            "seconds": round(seconds, 3), "analysed": True, "estimate_seconds_full": round(seconds * share, 1),
        }  # fmt: skip
        return Message(facts, {"file": data} | dict(blobs or {}))

    def _decoded(self, data: bytes, check: Check, **options: Any) -> Picture:
        with opened(data, self._max_pixels) as file:
            return codec_for(file.header).decode_picture(
                file, max_pixels=self._max_pixels, progress=lambda *_: check(), **options
            )


def _maps(sources: Mapping[str, Any], max_pixels: int) -> dict[str, Any]:
    """Maps by name: bytes are pictures, and text a rectangle or a number, never a path."""
    maps: dict[str, Any] = {}
    for name, source in sources.items():
        if isinstance(source, str) and Rect.parse(source) is None:
            try:
                source = float(source)
            except ValueError:
                raise UsageError(f"{name} takes x,y,w,h, a number from 0 to 1, or a picture, not {source!r}") from None
        maps[name] = read(source, max_pixels) if isinstance(source, bytes) else source
    return maps


def _sentences(picture: Picture) -> list[str]:
    from promptcodec.bitstream.contents import Metadata

    return metadata_facts(Metadata(picture.icc, picture.exif, picture.xmp))


def _at_view_size(picture: Picture) -> Picture:
    """The picture, scaled down to VIEW_PIXELS where it is larger."""
    from dataclasses import replace

    import numpy as np
    from PIL import Image

    height, width = picture.rgb.shape[:2]
    scale = math.sqrt(VIEW_PIXELS / (height * width))
    if scale >= 1:
        return picture
    size = max(1, int(width * scale)), max(1, int(height * scale))

    def scaled(pixels: Any) -> Any:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX, reducing_gap=2.0))

    alpha = None if picture.alpha is None else scaled(picture.alpha)
    return replace(picture, rgb=scaled(picture.rgb), alpha=alpha)


def _png(picture: Picture) -> bytes:
    from promptcodec.picture.write import to_pil

    file = io.BytesIO()
    to_pil(picture.stripped()).save(file, "PNG", compress_level=1)
    return file.getvalue()
