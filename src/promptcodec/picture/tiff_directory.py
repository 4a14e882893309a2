"""TIFF directories, byte for byte: TIFF files and EXIF data consist of them.

Values stay the bytes that they are in the file, so that text in any encoding, private tags and the notes of camera
makers come through as they were.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import IO, Literal

Order = Literal["<", ">"]

BYTE, SHORT, LONG, IFD = 1, 3, 4, 13
_SIGNED = {6: "b", 8: "h", 9: "i"}
_LONG8, _SLONG8, _IFD8 = 16, 17, 18  # of BigTIFF
_WIDE = {_LONG8: LONG, _SLONG8: 9, _IFD8: LONG}  # and what holds their smaller values in a plain directory
# Bytes of one value of a type. A rational is two numbers, so what swaps its bytes counts half of it.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_RATIONALS = (5, 10)
_MAX_VALUE = 2**24


class TiffError(ValueError):
    """There is no directory where one should be."""


@dataclass(frozen=True)
class Entry:
    """One tag.

    ``value``: all its bytes, in the byte order of its file; the four of the entry itself where the type is unknown;
    None where they lie outside the file. ``position``: of the entry in its file. ``children``: the directory that it
    points to, where that belongs to it.
    """

    tag: int
    type: int
    count: int
    value: bytes | None
    position: int = 0
    children: tuple[Entry, ...] | None = None

    def integer(self, order: Order) -> int | None:
        """Return the first value as an integer; None where it is none."""
        size = _SIZES.get(self.type, 0)
        if self.value is None or len(self.value) < size or self.type not in (1, 3, 4, 6, 8, 9, 13, 16, 17, 18):
            return None
        signed = self.type in _SIGNED or self.type == _SLONG8
        return int.from_bytes(self.value[:size], "little" if order == "<" else "big", signed=signed)


@dataclass(frozen=True)
class Directory:
    """The entries of a directory as far as they can be read, and where the next one is (0: nowhere).

    ``complete``: whether all entries that it announces are there.
    """

    entries: tuple[Entry, ...]
    following: int
    complete: bool

    def entry(self, tag: int) -> Entry | None:
        """Return the first entry of this tag."""
        return next((entry for entry in self.entries if entry.tag == tag), None)


class TiffReader:
    """A TIFF or BigTIFF file, or EXIF data. Raises TiffError where there is no TIFF header."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        head = self.read(0, 16) or b""
        if head[:2] not in (b"II", b"MM") or len(head) < 8:
            raise TiffError("no TIFF header")
        self.order: Order = "<" if head[:2] == b"II" else ">"
        version = struct.unpack_from(self.order + "H", head, 2)[0]
        if version not in (42, 43) or (version == 43 and len(head) < 16):
            raise TiffError("no TIFF header")
        self.big = version == 43
        self.first: int = struct.unpack_from(self.order + ("Q" if self.big else "I"), head, 8 if self.big else 4)[0]
        self._entry = struct.Struct(self.order + ("HHQ8s" if self.big else "HHI4s"))

    def read(self, start: int, count: int) -> bytes | None:
        """Return ``count`` bytes, fewer at the end of the file; None where ``start`` lies behind it."""
        if not 0 <= start < self._size:
            return None
        self._file.seek(start)
        return self._file.read(min(count, self._size - start))

    def directory(self, offset: int) -> Directory:
        """Return the directory at ``offset``. Raises TiffError where not even its first entry can be read."""
        width = 8 if self.big else 2
        head = self.read(offset, width) or b""
        if len(head) < width:
            raise TiffError(f"the directory at byte {offset} lies outside the data")
        announced: int = struct.unpack(self.order + ("Q" if self.big else "H"), head)[0]
        table = self.read(offset + width, min(announced, 65_535) * self._entry.size) or b""
        number = len(table) // self._entry.size
        if announced and not number:
            raise TiffError(f"the directory at byte {offset} is cut off")
        start = offset + width
        entries = [self._read(table, i * self._entry.size, start) for i in range(number)]
        link_size = 8 if self.big else 4
        link = self.read(start + len(table), link_size) or b""
        following = struct.unpack(self.order + ("Q" if self.big else "I"), link)[0] if len(link) == link_size else 0
        return Directory(tuple(entries), following, number == announced)

    def _read(self, table: bytes, at: int, start: int) -> Entry:
        tag, kind, count, field = self._entry.unpack_from(table, at)
        size = _SIZES.get(kind)
        value: bytes | None = field
        if size is not None:
            value = field[: size * count]
            if size * count > len(field):
                place = struct.unpack(self.order + ("Q" if self.big else "I"), field)[0]
                value = self.read(place, size * count) if size * count <= _MAX_VALUE else None
                if value is not None and len(value) < size * count:
                    value = None
        return Entry(tag, kind, count, value, start + at)


def plain(entry: Entry, order: Order) -> Entry | None:
    """Return an entry of a BigTIFF file for a plain directory; None where its numbers do not fit."""
    if entry.type not in _WIDE or entry.value is None:
        return entry
    numbers = struct.unpack(f"{order}{len(entry.value) // 8}{'q' if entry.type == _SLONG8 else 'Q'}", entry.value)
    try:
        value = struct.pack(f"{order}{len(numbers)}{'i' if entry.type == _SLONG8 else 'I'}", *numbers)
    except struct.error:
        return None
    return replace(entry, type=_WIDE[entry.type], value=value)


def in_order(entries: Iterable[Entry], source: Order, target: Order) -> tuple[Entry, ...]:
    """Return the entries with their numbers in another byte order."""
    if source == target:
        return tuple(entries)
    turned = []
    for entry in entries:
        unit = _SIZES.get(entry.type, 1) // (2 if entry.type in _RATIONALS else 1)
        value = entry.value
        if value is not None and unit > 1:
            value = b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))
        children = None if entry.children is None else in_order(entry.children, source, target)
        turned.append(replace(entry, value=value, children=children))
    return tuple(turned)


def pack_directory(entries: Iterable[Entry], order: Order, start: int) -> bytes:
    """Return a plain directory that begins at byte ``start`` of its file, with its values and sub-directories behind
    it.
    """
    ordered = sorted(entries, key=lambda entry: entry.tag)
    table, body = struct.pack(order + "H", len(ordered)), bytearray()
    behind = start + 2 + 12 * len(ordered) + 4
    for entry in ordered:
        body += bytes((behind + len(body)) % 2)
        here = struct.pack(order + "I", behind + len(body))
        if entry.children is not None:
            table += struct.pack(order + "HHI", entry.tag, LONG, 1) + here
            body += pack_directory(entry.children, order, behind + len(body))
            continue
        value = entry.value or b""
        table += struct.pack(order + "HHI", entry.tag, entry.type, entry.count)
        table += value.ljust(4, b"\0") if len(value) <= 4 else here
        body += value if len(value) > 4 else b""
    return table + bytes(4) + bytes(body)


def pack_header(order: Order, first: int) -> bytes:
    """Return the eight bytes in front of a plain TIFF file whose first directory begins at byte ``first``."""
    return (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, first)
