"""The boxes that JPEG 2000 and AVIF files consist of."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield the type, and where the contents begin and end, of each box in ``data[start:end]``.

    Stops where they are damaged.
    """
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, start + 8)
            head = 16
        if length == 0:
            length = end - start
        if length < head or start + length > end:
            return
        yield kind, start + head, start + length
        start += length


def first_box(data: bytes, path: tuple[bytes, ...], skips: tuple[int, ...] = ()) -> tuple[int, int] | None:
    """Return where the contents of the first box on a path of types begin and end, or None.

    ``skips``: bytes at the beginning of each box on the path that come before the boxes inside it.
    """
    start, end = 0, len(data)
    for depth, name in enumerate(path):
        span = next(((begin, stop) for kind, begin, stop in boxes(data, start, end) if kind == name), None)
        if span is None:
            return None
        start, end = span
        if depth + 1 < len(path):
            start += skips[depth] if depth < len(skips) else 0
    return start, end
