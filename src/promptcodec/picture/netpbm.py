"""Netpbm pictures: PGM and PPM (plain and binary) of any maximal value, PAM, and PFM in colour.

Pillow reads most of them as well, but sample by sample in Python where the maximal value is not 255, and neither PAM
nor colour PFM. Bitmaps (P1, P4) are left to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import ImageError

_CHANNELS = {b"P2": 1, b"P3": 3, b"P5": 1, b"P6": 3, b"PF": 3, b"Pf": 1}
_PLAIN = (b"P2", b"P3")
_FLOAT = (b"PF", b"Pf")
_TUPLES = {
    b"BLACKANDWHITE": 1, b"GRAYSCALE": 1, b"RGB": 3, b"BLACKANDWHITE_ALPHA": 2, b"GRAYSCALE_ALPHA": 2, b"RGB_ALPHA": 4,
}  # fmt: skip
_MAX_HEADER = 2**16  # bytes, comments included
_TOKEN = re.compile(rb"(?:\s+|#[^\r\n]*[\r\n])*([^\s#]+)")
_COMMENT = re.compile(rb"#[^\r\n]*")


@dataclass(frozen=True)
class NetpbmHeader:
    """``white``: the maximal value, None of floating point. ``start``: where the samples begin. ``order``: of bytes."""

    magic: bytes
    width: int
    height: int
    channels: int
    white: int | None
    start: int
    order: Literal["<", ">"] = ">"


def read_netpbm_header(file: BinaryIO) -> NetpbmHeader | None:
    """Return the header of a file that begins at its current position; None where it is no picture of these kinds.

    Raises ImageError for damaged headers, and for PAM of other things than grey and RGB.
    """
    data = file.read(_MAX_HEADER)
    magic = data[:2]
    if magic == b"P7" and data[2:3] in (b"\n", b"\r"):
        return _pam_header(data)
    if magic not in _CHANNELS or not data[2:3].isspace():
        return None
    position, numbers = 2, []
    for _ in range(3):
        match = _TOKEN.match(data, position)
        if match is None:
            raise ImageError("the picture is damaged: its Netpbm header ends early")
        numbers.append(match[1])
        position = match.end()
    width, height = _positive(numbers[0], "width"), _positive(numbers[1], "height")
    order: Literal["<", ">"] = ">"
    white = None
    if magic in _FLOAT:
        try:
            order = "<" if float(numbers[2]) < 0 else ">"
        except ValueError:
            raise ImageError(f"the picture is damaged: its scale is {numbers[2][:20]!r}") from None
    else:
        white = _white(numbers[2])
    # One white space ends the header, behind which binary samples begin.
    return NetpbmHeader(magic, width, height, _CHANNELS[magic], white, position + 1, order)


def read_netpbm(file: BinaryIO, header: NetpbmHeader) -> NDArray[Any]:
    """Return the samples (H, W, C) behind a header; unsigned integers up to ``white``, or float32. The file stands
    where the header begins. Raises ImageError where samples are missing or above the maximal value.
    """
    shape = (header.height, header.width, header.channels)
    count = header.height * header.width * header.channels
    file.seek(header.start, 1)
    if header.magic in _PLAIN:
        try:
            words = _COMMENT.sub(b"", file.read()).split(maxsplit=count)[:count]
            wide = np.array(words, dtype="S10").astype(np.int64)
        except ValueError:
            raise ImageError("the picture is damaged: a sample is no number") from None
        if wide.size and wide.min() < 0:
            raise ImageError(f"the picture is damaged: a sample is {wide.min()}")
        values: NDArray[Any] = wide
    else:
        width = 4 if header.white is None else 1 if header.white < 256 else 2
        kind = "f4" if header.white is None else f"u{width}"
        data = file.read(count * width)
        values = np.frombuffer(data[: len(data) // width * width], dtype=np.dtype(kind).newbyteorder(header.order))
    if len(values) != count:
        raise ImageError(f"the picture is damaged: it has {len(values)} samples, expected {count}")
    if header.white is not None and values.max() > header.white:
        raise ImageError(f"the picture is damaged: a sample is {values.max()}, its maximal value {header.white}")
    values = values.reshape(shape)
    if header.white is None:
        return values[::-1]  # PFM begins with the bottom row
    return values.astype(np.uint16)


def _pam_header(data: bytes) -> NetpbmHeader:
    end = re.search(rb"^ENDHDR[ \t]*\r?\n", data, re.MULTILINE)
    if end is None:
        raise ImageError("the picture is damaged: its PAM header has no end")
    fields: dict[bytes, bytes] = {}
    kind = b""
    for line in data[2 : end.start()].splitlines():
        key, _, value = line.strip().partition(b" ")
        if key == b"TUPLTYPE":
            kind = (kind + b" " + value.strip()).strip()
        elif key and not key.startswith(b"#"):
            fields[key] = value.strip()
    width, height = (_positive(fields.get(key, b""), key.decode().lower()) for key in (b"WIDTH", b"HEIGHT"))
    channels, white = _positive(fields.get(b"DEPTH", b""), "depth"), _white(fields.get(b"MAXVAL", b""))
    expected = _TUPLES.get(kind, channels if kind == b"" and channels <= 4 else 0)
    if expected == 0 or channels < expected:
        shown = kind[:40].decode("ascii", "replace") or "no type"
        raise ImageError(f"a PAM file of {channels} channels and {shown}; expected grey or RGB, with alpha or without")
    if channels > expected:
        raise ImageError(f"a PAM file of {channels} channels, expected {expected} for {kind.decode()}")
    return NetpbmHeader(b"P7", width, height, channels, white, end.end())


def _positive(token: bytes, name: str) -> int:
    if not token.isdigit() or len(token) > 10 or int(token) == 0:
        raise ImageError(f"the picture is damaged: its {name} is {token[:20]!r}")
    return int(token)


def _white(token: bytes) -> int:
    white = _positive(token, "maximal value")
    if white > 65_535:
        raise ImageError(f"the picture is damaged: its maximal value is {white}, at most 65535 are allowed")
    return white
