"""Chunks of a .ptc file: a type, a length, a payload and a checksum. Needs neither torch nor NumPy."""

from __future__ import annotations

import struct
import zlib

from promptcodec.bitstream.leb128 import leb128, read_leb128
from promptcodec.errors import FormatError

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
PREVIEW = 0x09 | ANCILLARY
# Reserved: no release writes them yet. docs/format.md says what they are for.
SAMPLE_FORMAT = 0x0A
GAIN_MAP = 0x0B | ANCILLARY
REFINEMENT = 0x0C | ANCILLARY

CRC = struct.Struct("<I")

CHUNK_NAMES = {
    HEADER: "header", TILE: "tile", ALPHA: "alpha", ICC: "ICC profile", EXIF: "EXIF", XMP: "XMP",
    SOURCE_HASH: "source hash", ADAPTERS: "adapters", PREVIEW: "preview",
}  # fmt: skip


def inflate(kind: int, payload: bytes) -> bytes:
    """Decompress a chunk of metadata. Raises FormatError for damaged ones, and for more than ``MAX_METADATA`` bytes."""
    stream = zlib.decompressobj()
    try:
        value = stream.decompress(payload, MAX_METADATA)
    except zlib.error as error:
        raise FormatError(f"the {CHUNK_NAMES[kind]} chunk does not inflate: {error}") from None
    if not stream.eof or stream.unused_data:
        raise FormatError(
            f"the {CHUNK_NAMES[kind]} chunk is cut off, has more after its end, or exceeds {MAX_METADATA} bytes"
        )
    return value


def chunk(kind: int, payload: bytes) -> bytes:
    """Frame a payload."""
    start = bytes([kind]) + leb128(len(payload))
    return start + payload + CRC.pack(zlib.crc32(payload, zlib.crc32(start)))


def chunk_start(data: bytes, position: int) -> tuple[int, int, int]:
    """Type and length of the chunk at ``position``, and where its payload begins. Raises FormatError at the end."""
    if position >= len(data):
        raise FormatError("the file ends where a chunk should begin")
    length, start = read_leb128(data, position + 1)
    return data[position], length, start


def one_chunk(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Type and payload of the chunk that ``data`` begins with, and where it ends; it lies at ``position`` of a file."""
    kind, length, start = chunk_start(data, 0)
    end = start + length
    if end + CRC.size > len(data):
        raise FormatError(
            f"the file ends inside a chunk of {length} bytes: {end + CRC.size - len(data)} bytes are missing"
        )
    if zlib.crc32(data[:end]) != CRC.unpack_from(data, end)[0]:
        raise FormatError(f"the {CHUNK_NAMES.get(kind, 'unknown')} chunk at byte {position} is damaged (wrong CRC)")
    return kind, data[start:end], end + CRC.size
