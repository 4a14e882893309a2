"""What a coding worker does for programs: encode, decode and describe files."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from promptcodec.api import codec_for, info, load, opened
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.search import Target
from promptcodec.errors import UsageError
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.write import write
from promptcodec.serve.messages import Arguments, Blobs, Check, Message, Operation


class Coding:
    """The operations, which keep nothing."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {"encode": self.encode, "decode": self.decode, "info": self.info}

    def encode(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return a .ptc file of the blob ``picture``. ``arguments``: ``options`` of ``Codec.encode``, and ``model``.

        Maps are numbers and rectangles among the options, or pictures in blobs of their names.
        """
        options = dict(arguments["options"])
        maps = options.pop("maps") | {name: blob for name, blob in blobs.items() if name != "picture"}
        data = load(arguments["model"]).encode(
            read(blobs["picture"], self._max_pixels), target=target_of(options.pop("target")),
            maps=self._maps(maps), progress=lambda *_: check(), **options,
        )  # fmt: skip
        return Message({}, {"file": data})

    def decode(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return the picture in the blob ``file``. ``arguments``: ``format``, ``look``, ``settings``, ``crop``,
        ``strip``.
        """
        crop = arguments["crop"]
        picture = decoded(
            blobs["file"], self._max_pixels, check, look=arguments["look"], settings=arguments["settings"],
            crop=None if crop is None else Rect(*crop),
        )  # fmt: skip
        file = io.BytesIO()
        write(picture.stripped() if arguments["strip"] else picture, file, arguments["format"])
        return Message({}, {"picture": file.getvalue()})

    def info(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return what the blob ``file`` says of itself, see ``promptcodec.info``."""
        return Message(asdict(info(blobs["file"])))

    def _maps(self, sources: Mapping[str, Any]) -> dict[str, Any]:
        """Maps by name: bytes are pictures, and text a rectangle or a number, never a path."""
        maps: dict[str, Any] = {}
        for name, source in sources.items():
            maps[name] = read(source, self._max_pixels) if isinstance(source, bytes) else source
            if isinstance(source, str) and Rect.parse(source) is None:
                try:
                    maps[name] = float(source)
                except ValueError:
                    raise UsageError(
                        f"{name} takes x,y,w,h in pixels, a number from 0 to 1, or a picture, not {source!r}"
                    ) from None
        return maps


def target_of(pair: tuple[Any, float] | None) -> Target | None:
    """Return a target from its kind and value."""
    return None if pair is None else Target(*pair)


def decoded(data: bytes, max_pixels: int, check: Check, **options: Any) -> Picture:
    """Return the picture in a file, by ``Codec.decode_picture`` with ``options``. Raises as it does."""
    with opened(data, max_pixels) as file:
        return codec_for(file.header).decode_picture(
            file, max_pixels=max_pixels, progress=lambda *_: check(), **options
        )
