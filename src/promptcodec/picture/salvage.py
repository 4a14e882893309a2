"""Pictures whose metadata keeps Pillow from opening them: the file without what stands in the way.

Readers stumble over a damaged or oversized block of metadata and refuse the whole file, whose pixels are sound.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from PIL import Image

from promptcodec.bitstream.contents import MAX_METADATA
from promptcodec.picture.tiff_directory import TiffError, TiffReader

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED = (b"tRNS",)  # of the ancillary chunks; without them the pixels are others
_PNG_NAMES = {
    b"iCCP": "ICC profile", b"eXIf": "EXIF data", b"pHYs": "density", b"tIME": "time", b"gAMA": "gamma",
    b"cHRM": "chromaticities", b"sRGB": "colour space", b"acTL": "animation", b"fcTL": "animation",
    b"fdAT": "animation",
}  # fmt: skip
_TIFF_NAMES = {
    700: "XMP", 33_723: "IPTC data", 34_377: "Photoshop data", 34_665: "EXIF data", 34_675: "ICC profile",
    34_853: "GPS data", 40_965: "EXIF data",
}  # fmt: skip
_ITEM = re.compile(rb"infe(?:\x02...(?:..)|\x03...(?:....))..(Exif)\0", re.DOTALL)  # AVIF's entry for EXIF data


@dataclass(frozen=True)
class Block:
    """Bytes of a file that hold metadata, and what takes their place in a file without it."""

    name: str
    start: int
    end: int
    replacement: bytes = b""


@dataclass(frozen=True)
class Salvaged:
    """A file that Pillow reads: its bytes, the names of what was left out, and what of that could be read here."""

    data: bytes
    left_out: tuple[str, ...]
    recovered: dict[str, bytes] = field(default_factory=dict)


def salvaged(data: bytes) -> Salvaged | None:
    """Return the file without the blocks that keep Pillow from reading it; None where that is not for its metadata."""
    blocks = list(_blocks(data))
    names = list(dict.fromkeys(block.name for block in blocks))
    if not names or not _opens(_without(data, blocks)):
        return None
    dropped = list(names)
    for name in names:  # what is not in the way comes back
        fewer = [other for other in dropped if other != name]
        if _opens(_without(data, [block for block in blocks if block.name in fewer])):
            dropped = fewer
    gone = [block for block in blocks if block.name in dropped]
    recovered = _recovered(data, gone)
    lost = tuple(name for name in dropped if _KEYS.get(name) not in recovered)
    return Salvaged(_without(data, gone), lost, recovered)


_KEYS = {"ICC profile": "icc_profile", "XMP": "xmp"}


def _opens(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:  # whatever it is, the file cannot be read
        return False
    return True


def _without(data: bytes, blocks: Sequence[Block]) -> bytes:
    parts, at = [], 0
    for block in sorted(blocks, key=lambda block: block.start):
        parts += [data[at : block.start], block.replacement]
        at = block.end
    return b"".join([*parts, data[at:]])


def _blocks(data: bytes) -> Iterator[Block]:
    if data.startswith(_PNG):
        return _png_blocks(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_blocks(data)
    if data.startswith((b"II", b"MM")):
        return _tiff_blocks(data)
    if data[4:8] == b"ftyp":
        return (Block("EXIF data", m.start(1), m.end(1), b"free") for m in _ITEM.finditer(data[: 2**16]))
    return iter(())


def _png_blocks(data: bytes) -> Iterator[Block]:
    for kind, start, end in _png_chunks(data):
        ancillary = bool(kind[:1] and kind[0] & 0x20)
        if ancillary and kind not in _PNG_NEEDED:
            content = data[start + 8 : end - 4]
            yield Block(_text_name(kind, content) or _PNG_NAMES.get(kind, "other data"), start, end)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = len(_PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            return
        yield data[at + 4 : at + 8], at, end
        at = end


def _text_name(kind: bytes, content: bytes) -> str | None:
    if kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return None
    keyword = content.split(b"\0", 1)[0]
    if keyword in (b"Raw profile type exif", b"Raw profile type APP1"):
        return "EXIF data"
    return "XMP" if keyword in (b"XML:com.adobe.xmp", b"Raw profile type xmp") else "text"


def _recovered(data: bytes, blocks: Sequence[Block]) -> dict[str, bytes]:
    """Recover from a PNG file what is only too large for Pillow: a profile, and XMP."""
    recovered: dict[str, bytes] = {}
    for block in blocks if data.startswith(_PNG) else ():
        key, chunk = _KEYS.get(block.name), data[block.start : block.end]
        kind, content = chunk[4:8], chunk[8:-4]
        if key is None or zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            continue
        packed = content.split(b"\0", 1)[-1][1:] if kind == b"iCCP" else b""
        if kind == b"iTXt" and content.split(b"\0", 1)[-1][:2] == b"\1\0":
            packed = content.split(b"\0", 1)[-1][2:].split(b"\0", 2)[-1]
        stream = zlib.decompressobj()
        try:
            value = stream.decompress(packed, MAX_METADATA)
        except zlib.error:
            continue
        if stream.eof:
            recovered[key] = value
    return recovered


def _jpeg_blocks(data: bytes) -> Iterator[Block]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA or end > len(data):
            return
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            name = _segment_name(marker, data[at + 4 : end])
            if name is not None:
                yield Block(name, at, end)
        at = end


def _segment_name(marker: int, content: bytes) -> str | None:
    if marker == 0xEE and content.startswith(b"Adobe"):  # says what the colours are
        return None
    for start, name in (
        (b"Exif\0", "EXIF data"), (b"http://ns.adobe.com/", "XMP"), (b"ICC_PROFILE\0", "ICC profile"),
        (b"MPF\0", "index of further pictures"), (b"Photoshop", "IPTC data"), (b"JFIF\0", "density"),
    ):  # fmt: skip
        if content.startswith(start):
            return name
    return "comment" if marker == 0xFE else "other data"


def _tiff_blocks(data: bytes) -> Iterator[Block]:
    try:
        reader = TiffReader(io.BytesIO(data))
        entries = reader.directory(reader.first).entries
    except (TiffError, struct.error):
        return
    for entry in entries:
        ascii_text = entry.type == 2
        private = entry.tag >= 32_768 and entry.tag not in _TIFF_NAMES
        if entry.tag in _TIFF_NAMES or ascii_text or private:
            kind = entry.position + 2  # type 0: readers pass over it
            yield Block(_TIFF_NAMES.get(entry.tag, "text" if ascii_text else "other data"), kind, kind + 2, b"\0\0")
