"""ICC profiles that Pillow passes over: in JPEG 2000 and BMP files."""

from __future__ import annotations

import struct
from typing import IO

from PIL import Image

UNREAD = ("JPEG2000", "BMP")  # formats
_JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n"
_MAX_BOXES = 1000
_BMP_HEADER = 14  # bytes in front of the header that says the colours
_BMP_V5 = 124  # bytes of the one that may have a profile


def unread_profile(image: Image.Image) -> bytes | None:
    """Return the profile in the file of an image of one of these formats that has not been loaded; None for none."""
    file = getattr(image, "fp", None)
    if file is None or file.closed:
        return None
    place = file.tell()
    try:
        return _of_jp2(file) if image.format == "JPEG2000" else _of_bmp(file)
    except (struct.error, OSError, ValueError):
        return None
    finally:
        file.seek(place)


def _of_jp2(file: IO[bytes]) -> bytes | None:
    file.seek(0)
    if file.read(len(_JP2_START)) != _JP2_START:  # a codestream without boxes
        return None
    for _ in range(_MAX_BOXES):
        start = file.tell()
        size, kind = struct.unpack(">I4s", file.read(8))
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
        if kind == b"jp2c" or size == 0:
            return None
        if kind == b"jp2h":  # a box of boxes
            continue
        if kind == b"colr":
            content = file.read(max(0, start + size - file.tell()))
            if content[:1] in (b"\2", b"\3"):
                return content[3:]
        file.seek(start + max(size, 8))
    return None


def _of_bmp(file: IO[bytes]) -> bytes | None:
    file.seek(_BMP_HEADER)
    header = file.read(_BMP_V5)
    if struct.unpack_from("<I", header)[0] < _BMP_V5 or header[56:60] != b"DEBM":
        return None
    offset, size = struct.unpack_from("<II", header, 112)
    file.seek(_BMP_HEADER + offset)
    return file.read(size)
