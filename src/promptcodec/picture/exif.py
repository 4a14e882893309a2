"""EXIF data: set upright in place, made of a TIFF file's tags, put into a TIFF file, described."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from promptcodec.picture.tiff_directory import (
    SHORT,
    Entry,
    Order,
    TiffError,
    TiffReader,
    in_order,
    pack_directory,
    pack_header,
    plain,
)

ORIENTATION, XMP, ICC_PROFILE = 274, 700, 34_675
EXIF_DIRECTORY, GPS_DIRECTORY, INTEROP_DIRECTORY = 0x8769, 0x8825, 0xA005
_DIRECTORIES = (EXIF_DIRECTORY, GPS_DIRECTORY, INTEROP_DIRECTORY)
_MAKER_NOTE, _THUMBNAIL_OFFSET, _THUMBNAIL_BYTES = 0x927C, 513, 514
_MAX_DEPTH = 3  # the file's directory, Exif, interoperability
_MAX_VALUE = 2**20  # bytes; what is larger in a TIFF file is other data than EXIF

# What a TIFF file says of how its samples lie in it and what they mean, and what it holds beside its EXIF tags: none
# of that is true of another file. All other tags, private ones included, are kept.
_LAYOUT = frozenset(
    [*range(254, 260), *range(262, 267), 273, ORIENTATION, *range(277, 282), 284, *range(288, 294), 297, 300, 301, 317,
     *range(318, 329), 330, *range(332, 348), 351, *range(400, 405), *range(433, 436), *range(512, 522),
     *range(529, 533), 559, XMP, 33_421, 33_422, 33_723, 34_377, ICC_PROFILE, 34_732, 37_724,
     *range(50_706, 51_200), *range(52_525, 52_560)]
)  # fmt: skip


def set_upright(data: bytes) -> tuple[bytes, int | None]:
    """Return EXIF data whose orientation is 1, and the orientation that it had; None if it has none.

    Every other byte stays. An entry that is no single 16-bit number is made one. Raises TiffError where the data has
    no directory that can be read.
    """
    reader = TiffReader(io.BytesIO(data))
    patched, orientation = bytearray(data), None
    for entry in reader.directory(reader.first).entries:
        if entry.tag != ORIENTATION:
            continue
        value = entry.integer(reader.order)
        orientation = (value if value is not None else 0) if orientation is None else orientation
        form, size = ("HHQ", 8) if reader.big else ("HHI", 4)
        one = struct.pack(reader.order + "H", 1)
        if (entry.type, entry.count) != (SHORT, 1):
            whole = struct.pack(reader.order + form, ORIENTATION, SHORT, 1) + one.ljust(size, b"\0")
            patched[entry.position : entry.position + len(whole)] = whole
        elif value != 1:
            start = entry.position + struct.calcsize(reader.order + form)
            patched[start : start + len(one)] = one
    return bytes(patched), orientation


@dataclass(frozen=True)
class TiffMetadata:
    """What the directory of a TIFF file holds beside the layout of its samples, each as it stands there.

    ``exif``: its tags as EXIF data, without an orientation. ``complete``: whether all of them could be read.
    """

    exif: bytes | None
    xmp: bytes | None
    icc: bytes | None
    complete: bool


def is_layout(tag: int) -> bool:
    """Return whether a tag of a TIFF file says how its samples lie in it or what they mean, so that no other file has
    it.
    """
    return tag in _LAYOUT


def of_tiff(file: IO[bytes], offset: int | None = None) -> TiffMetadata:
    """Read the metadata of a picture from a TIFF file's directory at ``offset``, by default its first.

    Raises TiffError.
    """
    reader = TiffReader(file)
    directory = reader.directory(reader.first if offset is None else offset)
    fields = {tag: entry.value if entry else None for tag in (XMP, ICC_PROFILE) for entry in [directory.entry(tag)]}
    lost: list[int] = []
    tags = tuple(_tags(reader, directory.entries, lost, _MAX_DEPTH))
    data = pack_header(reader.order, 8) + pack_directory(tags, reader.order, 8) if tags else None
    return TiffMetadata(data, fields[XMP], fields[ICC_PROFILE], directory.complete and not lost)


def add_to_tiff(file: io.BytesIO, exif: bytes | None, xmp: bytes | None) -> None:
    """Give a plain TIFF file of 8-bit samples the tags of EXIF data, byte for byte, and XMP.

    A new directory at its end takes the place of the first, in the EXIF data's byte order: what camera makers wrote
    is often in that order and cannot be turned. Raises TiffError for EXIF data that has no directory.
    """
    target = TiffReader(file)
    order: Order = target.order
    entries: tuple[Entry, ...] = target.directory(target.first).entries
    present = {entry.tag for entry in entries}
    if exif is not None:
        source = TiffReader(io.BytesIO(exif))
        tags = _tags(source, source.directory(source.first).entries, [], _MAX_DEPTH)
        entries, order = in_order(entries, order, source.order), source.order
        entries += tuple(entry for entry in tags if entry.tag not in present)
    if xmp is not None:
        entries += (Entry(XMP, 1, len(xmp), xmp),)
    start = file.seek(0, io.SEEK_END)
    start += file.write(bytes(start % 2))
    file.write(pack_directory(entries, order, start))
    file.seek(0)
    file.write(pack_header(order, start))


def _tags(reader: TiffReader, entries: tuple[Entry, ...], lost: list[int], depth: int) -> Iterator[Entry]:
    """Yield entries that are kept, each tag once, with their directories; tags that cannot be read go to ``lost``."""
    seen: set[int] = set()
    for entry in entries:
        if (depth == _MAX_DEPTH and entry.tag in _LAYOUT) or entry.tag in seen or entry.type == 0:
            continue
        seen.add(entry.tag)
        if entry.tag in _DIRECTORIES:
            try:
                inner = reader.directory(entry.integer(reader.order) or 0) if depth > 1 else None
            except TiffError:
                inner = None
            if inner is None or not inner.complete:
                lost.append(entry.tag)
            if inner is not None:
                yield replace(entry, children=tuple(_tags(reader, inner.entries, lost, depth - 1)))
            continue
        small = plain(entry, reader.order)
        if small is None or small.value is None or len(small.value) > _MAX_VALUE:
            lost.append(entry.tag)
        else:
            yield small


def describe(data: bytes) -> list[str]:
    """Describe EXIF data for people: numbers of tags, and what is large or private."""
    try:
        reader = TiffReader(io.BytesIO(data))
        first = reader.directory(reader.first)
    except TiffError:
        return ["nothing that can be read"]
    parts, count = [], len(first.entries)
    for tag in (EXIF_DIRECTORY, GPS_DIRECTORY):
        pointer = first.entry(tag)
        try:
            inner = reader.directory(pointer.integer(reader.order) or 0) if pointer is not None else None
        except TiffError:
            continue
        if inner is None:
            continue
        count += len(inner.entries)
        if tag == GPS_DIRECTORY:
            parts.append("a GPS position")
        note = inner.entry(_MAKER_NOTE)
        if note is not None and note.value is not None:
            parts.append(f"a maker note of {len(note.value):,} bytes")
    try:
        second = reader.directory(first.following) if first.following else None
    except TiffError:
        second = None
    size = second.entry(_THUMBNAIL_BYTES) if second is not None else None
    if size is not None:
        parts.append(f"a thumbnail of {size.integer(reader.order) or 0:,} bytes")
    return [f"{count} tag{'' if count == 1 else 's'}", *parts]
