"""What a coding worker does for the page: open uploads, and code views of them again and again."""

from __future__ import annotations

import io
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import Image

from promptcodec.api import codec_for, info, load, opened
from promptcodec.bitstream.container import SIGNATURE
from promptcodec.bitstream.contents import Metadata
from promptcodec.picture.metadata_facts import metadata_facts
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.serve.coding import decoded, target_of
from promptcodec.serve.messages import Arguments, Blobs, Check, Message, Operation, SourceNeededError
from promptcodec.serve.screen import at_view_size, browser_file

if TYPE_CHECKING:
    from promptcodec.codec.analysed_picture import AnalysedPicture


@dataclass
class _Upload:
    """A picture at the size of views, and its latents by model, each with the number of the region they know."""

    view: Picture
    width: int
    height: int
    analysed: dict[str, tuple[int, AnalysedPicture]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # that an analysis took

    @property
    def nbytes(self) -> int:
        return self.view.rgb.nbytes + sum(analysed.nbytes for _, analysed in self.analysed.values())


class Views:
    """The operations, and the pictures that were worked on last."""

    def __init__(self, max_pixels: int, memory: int, nearby: bool) -> None:
        """``memory``: bytes for pictures and their latents; ``nearby``: see ``browser_file``."""
        self._max_pixels, self._memory, self._nearby = max_pixels, memory, nearby
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()

    def operations(self) -> dict[str, Operation]:
        """By name."""
        return {"open": self.open, "region": self.region, "view": self.view, "picture": self.picture}

    def open(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Facts of the blob ``source``, a picture or a .ptc file; the blob ``original`` is it at the size of views."""
        begin, data = time.perf_counter(), blobs["source"]
        facts: dict[str, Any] = {"kind": "picture", "look": None, "quality": None, "model": None}
        if data.startswith(SIGNATURE):
            picture = decoded(data, self._max_pixels, check)
            about = info(data)
            facts = {"kind": "ptc", "look": _look(data), "quality": about.quality, "model": about.model}
        else:
            picture = read(data, self._max_pixels)
        height, width = picture.rgb.shape[:2]
        view = at_view_size(picture)
        view_height, view_width = view.rgb.shape[:2]
        facts |= {
            "width": width, "height": height, "view_width": view_width, "view_height": view_height,
            "bytes": len(data), "metadata": metadata_facts(Metadata(picture.icc, picture.exif, picture.xmp)),
            "seconds": round(time.perf_counter() - begin, 3),
        }  # fmt: skip
        if facts["kind"] == "picture":
            self._keep(arguments["token"], _Upload(view, width, height))
        return Message(facts, {"original": browser_file(view, self._nearby)})

    def region(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return the blob ``mask``, a picture, as a grey PNG of the same size, its values times ``strength``."""
        picture, strength = read(blobs["mask"], self._max_pixels), arguments["strength"]
        levels = [round(strength * value) for value in range(256)]
        file = io.BytesIO()
        Image.fromarray(picture.rgb).convert("L").point(levels).save(file, "PNG")
        return Message({}, {"mask": file.getvalue()})

    def view(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return a file of an upload, and its picture, unless the file is ``full``, not of the size of views.

        ``arguments``: ``token``, ``kind``, ``model``, ``quality`` or ``target``, ``look``, ``effort``, ``strip``,
        ``full``, and ``mask_number``, which is another one for every region; the blob ``mask`` is the region. Raises
        SourceNeededError where the blob ``source`` is needed.
        """
        if arguments["kind"] == "ptc":
            return self._decoded_view(arguments, blobs, check)
        begin = time.perf_counter()
        options = {
            "target": target_of(arguments["target"]), "look": arguments["look"], "effort": arguments["effort"],
            "strip": arguments["strip"], "progress": lambda *_: check(),
        }  # fmt: skip
        if arguments["full"]:
            return self._full_view(arguments, blobs, options)
        upload, model = self._upload(arguments["token"], blobs), arguments["model"]
        fresh = self._analyse(upload, model, arguments["mask_number"], blobs.get("mask"), check)
        encoding = time.perf_counter()
        data, picture = upload.analysed[model][1].encode_and_decode(arguments["quality"], **options)
        seconds = time.perf_counter() - begin
        self._shrink()
        share = upload.width * upload.height / (picture.rgb.shape[0] * picture.rgb.shape[1])
        full = share * (upload.seconds[model] + time.perf_counter() - encoding)
        facts = {"seconds": round(seconds, 3), "analysed": fresh, "estimate_seconds_full": round(full, 1)}
        return Message(_facts(data) | facts, {"file": data, "picture": browser_file(picture, self._nearby)})

    def picture(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        """Return the blob ``file``, decoded, at the size of views."""
        return Message(
            {}, {"picture": browser_file(at_view_size(decoded(blobs["file"], self._max_pixels, check)), self._nearby)}
        )

    def _decoded_view(self, arguments: Arguments, blobs: Blobs, check: Check) -> Message:
        begin, data = time.perf_counter(), _source(blobs)
        picture = at_view_size(decoded(data, self._max_pixels, check, look=arguments["look"]))
        seconds = round(time.perf_counter() - begin, 3)
        facts = {"seconds": seconds, "analysed": False, "estimate_seconds_full": seconds}
        return Message(_facts(data) | facts, {"file": data, "picture": browser_file(picture, self._nearby)})

    def _full_view(self, arguments: Arguments, blobs: Blobs, options: dict[str, Any]) -> Message:
        begin = time.perf_counter()
        picture = read(_source(blobs), self._max_pixels)
        roi = read(blobs["mask"]) if "mask" in blobs else None
        data = load(arguments["model"]).encode(picture, arguments["quality"], roi=roi, **options)
        seconds = round(time.perf_counter() - begin, 3)
        facts = {"seconds": seconds, "analysed": True, "estimate_seconds_full": seconds}
        return Message(_facts(data) | facts, {"file": data})

    def _upload(self, token: str, blobs: Blobs) -> _Upload:
        if token not in self._uploads:
            picture = read(_source(blobs), self._max_pixels)
            height, width = picture.rgb.shape[:2]
            self._keep(token, _Upload(at_view_size(picture), width, height))
        self._uploads.move_to_end(token)
        return self._uploads[token]

    def _analyse(self, upload: _Upload, model: str, mask_number: int, mask: bytes | None, check: Check) -> bool:
        """Have latents for this region; returns whether they had to be made."""
        begin = time.perf_counter()
        number, analysed = upload.analysed.get(model, (-1, None))
        if number == mask_number:
            return False
        roi = None if mask is None else read(mask)
        if analysed is None:
            upload.analysed[model] = mask_number, load(model).analysed(upload.view, roi=roi)
            upload.seconds[model] = time.perf_counter() - begin
        else:
            upload.analysed[model] = mask_number, analysed.with_maps(roi)
        check()
        return True

    def _keep(self, token: str, upload: _Upload) -> None:
        self._uploads[token] = upload
        self._shrink()

    def _shrink(self) -> None:
        """Let go what there is no memory for, the oldest first; never what was used last."""
        while len(self._uploads) > 1 and sum(upload.nbytes for upload in self._uploads.values()) > self._memory:
            self._uploads.popitem(last=False)


def _source(blobs: Blobs) -> bytes:
    if "source" not in blobs:
        raise SourceNeededError
    return blobs["source"]


def _facts(data: bytes) -> dict[str, Any]:
    about = info(data)
    return {
        "bytes": about.bytes, "bpp": about.bpp, "quality": about.quality, "width": about.width, "height": about.height,
    }  # fmt: skip


def _look(data: bytes) -> float | None:
    """Return the look that a file was made with."""
    with opened(data) as file:
        return codec_for(file.header).adapters.signalled(file.adapters).get("look")
