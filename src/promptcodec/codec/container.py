"""The .ptc file: signature, version, chunks with checksums; docs/format.md. Needs neither torch nor NumPy."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from promptcodec.codec.leb128 import leb128, read_leb128
from promptcodec.errors import FormatError, LimitError, VersionError

SIGNATURE = b"\x8fPTC"
VERSION = 0  # experimental: becomes 1 when the format is frozen

MAX_PIXELS = 2**28
MAX_SIDE = 65_535
MAX_METADATA = 2**24  # bytes of one inflated ICC, EXIF or XMP chunk

# Chunk types. A reader skips types that it does not know if ANCILLARY is set, and refuses the file if it is not.
ANCILLARY = 0x80
HEADER = 0x01
TILE = 0x02
ALPHA = 0x03
ICC = 0x04
EXIF = 0x05 | ANCILLARY
XMP = 0x06 | ANCILLARY
SOURCE_HASH = 0x07 | ANCILLARY
ADAPTERS = 0x08

_GREY, _ALPHA = 0x01, 0x02
_FIXED = struct.Struct("<B8s4sH")  # flags, probability and pixel fingerprints, q
_CHECKSUM = struct.Struct("<I")
_CRC = struct.Struct("<I")
HEADER_BYTES = 64  # no header chunk, signature included, is longer
HASH_BYTES = 8

FINGERPRINT_BYTES = 8  # of an adapter
MAX_NAME = 100  # bytes of an adapter's name

EXIF_PREFIX = b"Exif\x00\x00"  # before EXIF data in JPEG files and in Pillow's info; not in ours


@dataclass(frozen=True)
class Header:
    """What every reader needs first.

    ``grey``: the three channels are one. ``alpha``: the file has a lossless alpha plane. ``probability`` (8 bytes) and
    ``pixels`` (4 bytes) are the model's fingerprints. ``q``: the rate, 0..65535.
    """

    width: int
    height: int
    probability: bytes
    pixels: bytes
    q: int
    grey: bool = False
    alpha: bool = False


@dataclass(frozen=True)
class Tile:
    """Coded latents: CRC-32 of the decoded integers, border offsets, and the stream of docs/stream.md."""

    checksum: int
    offsets: bytes
    stream: bytes


@dataclass(frozen=True)
class AdapterRecord:
    """An adapter that a decoder needs: its name, its fingerprint (8 bytes) and what its encoder half signalled."""

    name: str
    fingerprint: bytes
    signal: bytes = b""


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels; None where absent. ``alpha`` is the coded plane, see ``codec.alpha``."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    alpha: bytes | None = None
    source_hash: bytes | None = None


@dataclass(frozen=True)
class PtcFile:
    """A whole file, taken apart."""

    header: Header
    tiles: tuple[Tile, ...]
    metadata: Metadata = field(default_factory=Metadata)
    adapters: tuple[AdapterRecord, ...] = ()


def pack(file: PtcFile) -> bytes:
    """The bytes of a file. Raises LimitError for pictures and metadata beyond the format's limits."""
    header, metadata = file.header, file.metadata
    _check_size(header.width, header.height, MAX_PIXELS)
    if header.alpha != (metadata.alpha is not None):
        raise FormatError("the header's alpha flag and the alpha plane do not agree")
    flags = _GREY * header.grey | _ALPHA * header.alpha
    size = leb128(header.width) + leb128(header.height)
    parts = [
        SIGNATURE,
        bytes([VERSION]),
        _chunk(HEADER, size + _FIXED.pack(flags, header.probability, header.pixels, header.q)),
    ]
    if file.adapters:
        parts.append(_chunk(ADAPTERS, b"".join(map(_pack_adapter, file.adapters))))
    for kind, value in ((ICC, metadata.icc), (EXIF, metadata.exif), (XMP, metadata.xmp)):
        if value is not None:
            if len(value) > MAX_METADATA:
                raise LimitError(f"{_NAMES[kind]} of {len(value)} bytes; a file takes at most {MAX_METADATA}")
            parts.append(_chunk(kind, zlib.compress(value, 9)))
    if metadata.source_hash is not None:
        parts.append(_chunk(SOURCE_HASH, metadata.source_hash))
    if metadata.alpha is not None:
        parts.append(_chunk(ALPHA, metadata.alpha))
    for tile in file.tiles:
        parts.append(
            _chunk(TILE, _CHECKSUM.pack(tile.checksum) + leb128(len(tile.offsets)) + tile.offsets + tile.stream)
        )
    return b"".join(parts)


def unpack(data: bytes, max_pixels: int | None = MAX_PIXELS) -> PtcFile:
    """Take a file apart, checking everything that can be checked without its model.

    ``max_pixels`` None trusts the header's size. Raises FormatError, VersionError and LimitError.
    """
    header = _read_start(data, max_pixels)
    chunks: dict[int, bytes] = {}
    for kind, payload in _chunks(data, len(SIGNATURE) + 1):
        if kind not in _NAMES:
            if not kind & ANCILLARY:
                raise VersionError(
                    f"the file needs feature {kind:#04x}, which this release does not know; a newer one reads it"
                )
        elif kind in chunks:
            raise FormatError(f"the file has a second {_NAMES[kind]} chunk")
        else:
            chunks[kind] = payload
    if TILE not in chunks:
        raise FormatError("the file ends before its picture begins")
    if header.alpha != (ALPHA in chunks):
        raise FormatError("the header's alpha flag and the alpha plane do not agree")
    source_hash = chunks.get(SOURCE_HASH)
    if source_hash is not None and len(source_hash) != HASH_BYTES:
        raise FormatError(f"the source hash has {len(source_hash)} bytes, expected {HASH_BYTES}")
    icc, exif, xmp = (_inflate(kind, chunks[kind]) if kind in chunks else None for kind in (ICC, EXIF, XMP))
    metadata = Metadata(icc, exif, xmp, chunks.get(ALPHA), source_hash)
    adapters = _unpack_adapters(chunks[ADAPTERS]) if ADAPTERS in chunks else ()
    return PtcFile(header, (_tile(chunks[TILE]),), metadata, adapters)


def read_header(file: IO[bytes] | bytes, max_pixels: int | None = MAX_PIXELS) -> Header:
    """The header alone, from the first bytes. Raises as ``unpack`` does."""
    return _read_start(file[:HEADER_BYTES] if isinstance(file, bytes) else file.read(HEADER_BYTES), max_pixels)


_NAMES = {
    HEADER: "header", TILE: "tile", ALPHA: "alpha", ICC: "ICC profile", EXIF: "EXIF", XMP: "XMP",
    SOURCE_HASH: "source hash", ADAPTERS: "adapters",
}  # fmt: skip


def _read_start(data: bytes, max_pixels: int | None) -> Header:
    if len(data) == 0:
        raise FormatError("the file is empty")
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise FormatError(f"not a .ptc file: it begins with {data[: len(SIGNATURE)]!r}, expected {SIGNATURE!r}")
    if len(data) <= len(SIGNATURE):
        raise FormatError("the file ends inside its signature")
    version = data[len(SIGNATURE)]
    if version != VERSION:
        raise VersionError(
            f"the file has format version {version}, this release reads {VERSION}; a newer one may read it"
        )
    kind, payload, _ = _one_chunk(data, len(SIGNATURE) + 1)
    if kind != HEADER:
        raise FormatError(f"the first chunk is {_NAMES.get(kind, hex(kind))}, expected the header")
    width, position = read_leb128(payload, 0)
    height, position = read_leb128(payload, position)
    if len(payload) - position != _FIXED.size:
        raise FormatError(f"the header has {len(payload)} bytes, expected {position + _FIXED.size}")
    flags, probability, pixels, q = _FIXED.unpack_from(payload, position)
    if flags & ~(_GREY | _ALPHA):
        raise VersionError(f"the file has flags {flags:#04x}, some of which this release does not know")
    _check_size(width, height, max_pixels)
    return Header(width, height, probability, pixels, q, bool(flags & _GREY), bool(flags & _ALPHA))


def _check_size(width: int, height: int, max_pixels: int | None) -> None:
    if width < 1 or height < 1:
        raise FormatError(f"a picture of {width} x {height} pixels")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {MAX_SIDE} a side are allowed")
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {max_pixels} in all are allowed")


def _pack_adapter(record: AdapterRecord) -> bytes:
    name = record.name.encode()
    if len(record.fingerprint) != FINGERPRINT_BYTES or not 0 < len(name) <= MAX_NAME:
        raise FormatError(f"an adapter has a name of 1 to {MAX_NAME} bytes and a fingerprint of {FINGERPRINT_BYTES}")
    return record.fingerprint + leb128(len(name)) + name + leb128(len(record.signal)) + record.signal


def _unpack_adapters(payload: bytes) -> tuple[AdapterRecord, ...]:
    found, position = [], 0
    while position < len(payload):
        fingerprint = payload[position : position + FINGERPRINT_BYTES]
        name, position = _counted(payload, position + FINGERPRINT_BYTES)
        signal, position = _counted(payload, position)
        try:
            found.append(AdapterRecord(name.decode(), fingerprint, signal))
        except UnicodeDecodeError:
            raise FormatError("the name of an adapter is no UTF-8") from None
        if not 0 < len(name) <= MAX_NAME:
            raise FormatError(f"the name of an adapter has {len(name)} bytes, expected 1 to {MAX_NAME}")
    if not found:
        raise FormatError("the adapters chunk is empty")
    return tuple(found)


def _counted(payload: bytes, position: int) -> tuple[bytes, int]:
    """Bytes with their number in front, and the position after them."""
    count, start = read_leb128(payload, position)
    if start + count > len(payload):
        raise FormatError("the adapters chunk ends inside an adapter")
    return payload[start : start + count], start + count


def _tile(payload: bytes) -> Tile:
    if len(payload) < _CHECKSUM.size:
        raise FormatError(f"the tile has {len(payload)} bytes, too few for its checksum")
    count, start = read_leb128(payload, _CHECKSUM.size)
    if len(payload) < start + count:
        raise FormatError(f"the tile ends inside its {count} border offsets")
    end = start + count
    return Tile(_CHECKSUM.unpack_from(payload)[0], payload[start:end], payload[end:])


def _inflate(kind: int, payload: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        value = stream.decompress(payload, MAX_METADATA)
    except zlib.error as error:
        raise FormatError(f"the {_NAMES[kind]} chunk does not inflate: {error}") from None
    if not stream.eof or stream.unused_data:
        raise FormatError(
            f"the {_NAMES[kind]} chunk is cut off, has more after its end, or exceeds {MAX_METADATA} bytes"
        )
    return value


def _chunk(kind: int, payload: bytes) -> bytes:
    start = bytes([kind]) + leb128(len(payload))
    return start + payload + _CRC.pack(zlib.crc32(payload, zlib.crc32(start)))


def _chunks(data: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    while position < len(data):
        kind, payload, position = _one_chunk(data, position)
        yield kind, payload


def _one_chunk(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Type and payload of the chunk at ``position``, and the position after it."""
    if position >= len(data):
        raise FormatError("the file ends where a chunk should begin")
    length, start = read_leb128(data, position + 1)
    end = start + length
    if end + _CRC.size > len(data):
        raise FormatError(
            f"the file ends inside a chunk of {length} bytes: {end + _CRC.size - len(data)} bytes are missing"
        )
    if zlib.crc32(data[position:end]) != _CRC.unpack_from(data, end)[0]:
        raise FormatError(
            f"the {_NAMES.get(data[position], 'unknown')} chunk at byte {position} is damaged (wrong CRC)"
        )
    return data[position], data[start:end], end + _CRC.size
