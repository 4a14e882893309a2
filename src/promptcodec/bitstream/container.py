"""The .ptc file: signature, version, chunks with checksums; docs/format.md. Reading needs neither torch nor NumPy."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

from promptcodec.bitstream.contents import (
    MAX_METADATA,
    OTHER_SAMPLES,
    Header,
    Metadata,
    Preview,
    PtcFile,
    Tile,
    check_size,
    leb128,
    pack_adapters,
    pack_header,
    pack_preview,
    pack_tile,
    read_leb128,
    tile_binding,
    unpack_adapters,
    unpack_header,
    unpack_preview,
    unpack_tile,
)
from promptcodec.errors import FormatError, LimitError, VersionError

SIGNATURE = b"\x8fPTC"
VERSION = 2
UNRELEASED = (0, 1)  # versions that no release wrote

MAX_PIXELS = 2**28
HEADER_BYTES = 64  # no header chunk, signature included, is longer
_CHUNK_START = 6  # bytes of a type and the longest length
HASH_BYTES = 8

EXIF_PREFIX = b"Exif\x00\x00"  # before EXIF data in JPEG files and in Pillow's info; not in ours

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


def pack(file: PtcFile) -> bytes:
    """Return the bytes of a file. Raises LimitError for pictures and metadata beyond the format's limits."""
    header, metadata = file.header, file.metadata
    check_size(header.width, header.height, MAX_PIXELS)
    if header.alpha != (metadata.alpha is not None):
        raise FormatError("the header's alpha flag and the alpha plane do not agree")
    if len(file.tiles) != header.tile_count:
        raise FormatError(f"the header asks for {header.tile_count} tiles, given are {len(file.tiles)}")
    parts = [SIGNATURE, bytes([VERSION]), chunk(HEADER, pack_header(header))]
    if file.preview is not None:
        parts.append(chunk(PREVIEW, pack_preview(file.preview, header)))
    if file.adapters:
        parts.append(chunk(ADAPTERS, pack_adapters(file.adapters)))
    for kind, value in ((ICC, metadata.icc), (EXIF, metadata.exif), (XMP, metadata.xmp)):
        if value is not None:
            if len(value) > MAX_METADATA:
                raise LimitError(f"{CHUNK_NAMES[kind]} of {len(value)} bytes; a file takes at most {MAX_METADATA}")
            from promptcodec.bitstream.deflate import deflated  # NumPy, which no reader of headers needs

            parts.append(chunk(kind, deflated(value)))
    if metadata.source_hash is not None:
        parts.append(chunk(SOURCE_HASH, metadata.source_hash))
    if metadata.alpha is not None:
        parts.append(chunk(ALPHA, metadata.alpha))
    for number, tile in enumerate(file.tiles):
        parts.append(chunk(TILE, pack_tile(tile, tile_binding(header, file.adapters, number))))
    return b"".join(parts)


def unpack(data: bytes, max_pixels: int | None = MAX_PIXELS) -> PtcFile:
    """Take a file apart, checking everything that can be checked without its model.

    ``max_pixels`` None trusts the header's size. Raises FormatError, VersionError and LimitError.
    """
    reader = PtcReader(io.BytesIO(data), max_pixels)
    tiles = tuple(reader.tile(i) for i in range(reader.header.tile_count))
    return PtcFile(reader.header, tiles, reader.metadata, reader.adapters, reader.preview)


class PtcReader:
    """A file that can be sought in, opened: all but its tiles is read and checked, tiles are read when asked for.

    ``file`` begins at its current position; ``size`` is its length in bytes. Raises as ``unpack`` does; a damaged tile
    is found when it is read.
    """

    def __init__(self, file: IO[bytes], max_pixels: int | None = MAX_PIXELS) -> None:
        self._file, self._begin = file, file.tell()
        self.size = file.seek(0, io.SEEK_END) - self._begin
        self.header, position = _read_start(self._bytes(0, HEADER_BYTES), max_pixels)
        behind_header = position
        self._tiles: list[int] = []  # where the tile chunks begin
        chunks: dict[int, bytes] = {}
        while position < self.size:
            kind, end = self._span(position)
            if kind == TILE:
                self._tiles.append(position)
            elif kind not in CHUNK_NAMES:
                if not kind & ANCILLARY:
                    raise VersionError(OTHER_SAMPLES if kind == SAMPLE_FORMAT else _unknown_feature(kind))
                self._chunk(position, end)
            elif kind in chunks or kind == HEADER:
                raise FormatError(f"the file has a second {CHUNK_NAMES[kind]} chunk")
            elif kind == PREVIEW and position != behind_header:
                raise FormatError("the preview does not stand right behind the header")
            else:
                chunks[kind] = self._chunk(position, end)
            position = end
        self._check_tiles()
        if self.header.alpha != (ALPHA in chunks):
            raise FormatError("the header's alpha flag and the alpha plane do not agree")
        source_hash = chunks.get(SOURCE_HASH)
        if source_hash is not None and len(source_hash) != HASH_BYTES:
            raise FormatError(f"the source hash has {len(source_hash)} bytes, expected {HASH_BYTES}")
        icc, exif, xmp = (inflate(kind, chunks[kind]) if kind in chunks else None for kind in (ICC, EXIF, XMP))
        self.metadata = Metadata(icc, exif, xmp, chunks.get(ALPHA), source_hash)
        self.adapters = unpack_adapters(chunks[ADAPTERS]) if ADAPTERS in chunks else ()
        self.preview = unpack_preview(chunks[PREVIEW], self.header) if PREVIEW in chunks else None

    def tile(self, index: int) -> Tile:
        """Return the tile with this number. Raises FormatError where it is damaged."""
        position = self._tiles[index]
        return unpack_tile(self._chunk(position, self._span(position)[1]), self._binding(index))

    def place_of(self, index: int, checksum: int) -> int | None:
        """Return the number under which the tile that stands at ``index`` was written, where its integers have the
        CRC-32 ``checksum``; None where it was written into no place of this file.
        """
        stored = self.tile(index).checksum ^ self._binding(index)
        return next((i for i in range(len(self._tiles)) if checksum ^ self._binding(i) == stored), None)

    def _binding(self, index: int) -> int:
        return tile_binding(self.header, self.adapters, index)

    def check_tiles(self) -> None:
        """Raise FormatError where any tile's bytes are damaged."""
        for index in range(len(self._tiles)):
            self.tile(index)

    def _check_tiles(self) -> None:
        expected = self.header.tile_count
        if not self._tiles:
            raise FormatError("the file ends before its picture begins")
        if len(self._tiles) != expected:
            what = "more" if len(self._tiles) > expected else "fewer"
            raise FormatError(f"the file has {what} tiles ({len(self._tiles)}) than its header says ({expected})")

    def _bytes(self, begin: int, end: int) -> bytes:
        self._file.seek(self._begin + begin)
        return self._file.read(min(end, self.size) - begin)

    def _span(self, position: int) -> tuple[int, int]:
        """Type of the chunk at ``position``, and where it ends. Raises FormatError where the file ends before."""
        kind, length, payload = chunk_start(self._bytes(position, position + _CHUNK_START), 0)
        end = position + payload + length + CRC.size
        if end > self.size:
            raise FormatError(f"the file ends inside a chunk of {length} bytes: {end - self.size} bytes are missing")
        return kind, end

    def _chunk(self, position: int, end: int) -> bytes:
        return one_chunk(self._bytes(position, end), position)[1]


def read_header(file: IO[bytes] | bytes, max_pixels: int | None = MAX_PIXELS) -> Header:
    """Return the header alone, from the first bytes. Raises as ``unpack`` does."""
    return _read_start(file[:HEADER_BYTES] if isinstance(file, bytes) else file.read(HEADER_BYTES), max_pixels)[0]


def read_preview(file: IO[bytes], max_pixels: int | None = MAX_PIXELS) -> tuple[Header, Preview | None]:
    """Header and preview from the first part of a file, of which the rest may be missing; None where it has none.

    Raises as ``unpack`` does.
    """
    data = file.read(HEADER_BYTES)
    header, position = _read_start(data, max_pixels)
    data += file.read(max(position + _CHUNK_START - len(data), 0))
    if position >= len(data) or data[position] != PREVIEW:
        return header, None
    _, length, start = chunk_start(data, position)
    data += file.read(max(start + length + CRC.size - len(data), 0))
    return header, unpack_preview(one_chunk(data[position:], position)[1], header)


def version_problem(version: int) -> str | None:
    """Why files of a format version are not read, as a sentence; None for the one that is."""
    if version == VERSION:
        return None
    if version in UNRELEASED:
        return (
            f"the file has format version {version}, from before the first release, this release reads {VERSION}; "
            "decode it with the program that made it, or encode the picture again"
        )
    return f"the file has format version {version}, this release reads {VERSION}; a newer one may read it"


def _read_start(data: bytes, max_pixels: int | None) -> tuple[Header, int]:
    """Return the header, and the position after its chunk."""
    if len(data) == 0:
        raise FormatError("the file is empty")
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
        raise FormatError(f"not a .ptc file: it begins with {data[: len(SIGNATURE)]!r}, expected {SIGNATURE!r}")
    if len(data) <= len(SIGNATURE):
        raise FormatError("the file ends inside its signature")
    problem = version_problem(data[len(SIGNATURE)])
    if problem is not None:
        raise VersionError(problem)
    kind, payload, end = one_chunk(data[len(SIGNATURE) + 1 :], len(SIGNATURE) + 1)
    if kind != HEADER:
        raise FormatError(f"the first chunk is {CHUNK_NAMES.get(kind, hex(kind))}, expected the header")
    return unpack_header(payload, max_pixels), len(SIGNATURE) + 1 + end


def _unknown_feature(kind: int) -> str:
    return f"the file needs feature {kind:#04x}, which this release does not know; a newer one may read it"


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
