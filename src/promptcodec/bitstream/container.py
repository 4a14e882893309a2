"""The .ptc file: signature, version, chunks with checksums; docs/format.md. Reading needs neither torch nor NumPy."""

from __future__ import annotations

import io
import struct
import zlib
from typing import IO

from promptcodec.bitstream.chunks import (
    ADAPTERS,
    ALPHA,
    ANCILLARY,
    CHUNK_NAMES,
    CRC,
    EXIF,
    HEADER,
    ICC,
    MAX_METADATA,
    PREVIEW,
    SAMPLE_FORMAT,
    SOURCE_HASH,
    TILE,
    XMP,
    chunk,
    chunk_start,
    inflate,
    one_chunk,
)
from promptcodec.bitstream.contents import Header, Metadata, Preview, PtcFile, Tile
from promptcodec.bitstream.leb128 import leb128, read_leb128
from promptcodec.bitstream.records import AdapterRecord, pack_adapters, unpack_adapters
from promptcodec.bitstream.tiling import TILE_UNIT
from promptcodec.errors import FormatError, LimitError, VersionError

SIGNATURE = b"\x8fPTC"
VERSION = 2
UNRELEASED = (0, 1)  # versions that no release wrote

MAX_PIXELS = 2**28
MAX_SIDE = 65_535

_GREY, _ALPHA, _TILED, _SAMPLE_FORMAT = 0x01, 0x02, 0x04, 0x08
_OTHER_SAMPLES = (
    "the picture has samples of more than 8 bits or of high dynamic range, which this release does not decode; "
    "a newer one may"
)
_FIXED = struct.Struct("<B8s4sH")  # flags, probability and pixel fingerprints, q
_CHECKSUM = struct.Struct("<I")
_Q = struct.Struct("<H")
_NUMBER = struct.Struct("<I")
_PREVIEW_NUMBER = 2**32 - 1  # of the preview among the tiles
HEADER_BYTES = 64  # no header chunk, signature included, is longer
_CHUNK_START = 6  # bytes of a type and the longest length
HASH_BYTES = 8
MAX_PREVIEW_SIDE = 1024

EXIF_PREFIX = b"Exif\x00\x00"  # before EXIF data in JPEG files and in Pillow's info; not in ours


def pack(file: PtcFile) -> bytes:
    """The bytes of a file. Raises LimitError for pictures and metadata beyond the format's limits."""
    header, metadata = file.header, file.metadata
    _check_size(header.width, header.height, MAX_PIXELS)
    if header.alpha != (metadata.alpha is not None):
        raise FormatError("the header's alpha flag and the alpha plane do not agree")
    if len(file.tiles) != header.grid.count:
        raise FormatError(f"the header asks for {header.grid.count} tiles, given are {len(file.tiles)}")
    parts = [SIGNATURE, bytes([VERSION]), chunk(HEADER, _pack_header(header))]
    if file.preview is not None:
        parts.append(chunk(PREVIEW, _pack_preview(file.preview, header)))
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
        parts.append(chunk(TILE, _pack_tile(tile, _tile_binding(header, file.adapters, number))))
    return b"".join(parts)


def unpack(data: bytes, max_pixels: int | None = MAX_PIXELS) -> PtcFile:
    """Take a file apart, checking everything that can be checked without its model.

    ``max_pixels`` None trusts the header's size. Raises FormatError, VersionError and LimitError.
    """
    reader = PtcReader(io.BytesIO(data), max_pixels)
    tiles = tuple(reader.tile(i) for i in range(reader.header.grid.count))
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
                    raise VersionError(_OTHER_SAMPLES if kind == SAMPLE_FORMAT else _unknown_feature(kind))
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
        self.preview = _unpack_preview(chunks[PREVIEW], self.header) if PREVIEW in chunks else None

    def tile(self, index: int) -> Tile:
        """The tile with this number. Raises FormatError where it is damaged."""
        position = self._tiles[index]
        return _unpack_tile(self._chunk(position, self._span(position)[1]), self._binding(index))

    def place_of(self, index: int, checksum: int) -> int | None:
        """The number under which the tile that stands at ``index`` was written, where its integers have the CRC-32
        ``checksum``; None where it was written into no place of this file."""
        stored = self.tile(index).checksum ^ self._binding(index)
        return next((i for i in range(len(self._tiles)) if checksum ^ self._binding(i) == stored), None)

    def _binding(self, index: int) -> int:
        return _tile_binding(self.header, self.adapters, index)

    def check_tiles(self) -> None:
        """Raise FormatError where any tile's bytes are damaged."""
        for index in range(len(self._tiles)):
            self.tile(index)

    def _check_tiles(self) -> None:
        expected = self.header.grid.count
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
    """The header alone, from the first bytes. Raises as ``unpack`` does."""
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
    return header, _unpack_preview(one_chunk(data[position:], position)[1], header)


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
    """The header, and the position after its chunk."""
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
    width, position = read_leb128(payload, 0)
    height, position = read_leb128(payload, position)
    if len(payload) - position < _FIXED.size:
        raise FormatError(f"the header has {len(payload)} bytes, expected {position + _FIXED.size}")
    flags, probability, pixels, q = _FIXED.unpack_from(payload, position)
    position += _FIXED.size
    if flags & _SAMPLE_FORMAT:
        raise VersionError(_OTHER_SAMPLES)
    if flags & ~(_GREY | _ALPHA | _TILED):
        raise VersionError(
            f"the file has flags {flags:#04x}, some of which this release does not know; a newer one may read it"
        )
    tile_width = tile_height = 0
    if flags & _TILED:
        columns, position = read_leb128(payload, position)
        rows, position = read_leb128(payload, position)
        tile_width, tile_height = columns * TILE_UNIT, rows * TILE_UNIT
    if len(payload) != position:
        raise FormatError(f"the header has {len(payload)} bytes, expected {position}")
    _check_size(width, height, max_pixels)
    tiles = (tile_width, tile_height)
    header = Header(width, height, probability, pixels, q, bool(flags & _GREY), bool(flags & _ALPHA), *tiles)
    if flags & _TILED and (0 in tiles or max(tiles) > MAX_SIDE + 1 or header.grid.count == 1):
        raise FormatError(f"tiles of {tile_width} x {tile_height} pixels do not divide {width} x {height} pixels")
    return header, len(SIGNATURE) + 1 + end


def _pack_header(header: Header) -> bytes:
    flags = _GREY * header.grey | _ALPHA * header.alpha | _TILED * bool(header.tile_width)
    tiles = b""
    if header.tile_width:
        if header.tile_width % TILE_UNIT or header.tile_height % TILE_UNIT or header.grid.count == 1:
            raise FormatError(f"tiles of {header.tile_width} x {header.tile_height} pixels are no multiples of 256")
        tiles = leb128(header.tile_width // TILE_UNIT) + leb128(header.tile_height // TILE_UNIT)
    size = leb128(header.width) + leb128(header.height)
    return size + _FIXED.pack(flags, header.probability, header.pixels, header.q) + tiles


def _check_size(width: int, height: int, max_pixels: int | None) -> None:
    if width < 1 or height < 1:
        raise FormatError(f"a picture of {width} x {height} pixels")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {MAX_SIDE} a side are allowed")
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {max_pixels} in all are allowed")


def _tile_binding(header: Header, adapters: tuple[AdapterRecord, ...], number: int) -> int:
    """What a tile's checksum is XORed with: another one wherever the tile would decode to something else."""
    return _binding(header, pack_adapters(adapters), number)


def _binding(header: Header, more: bytes, number: int) -> int:
    return zlib.crc32(_NUMBER.pack(number), zlib.crc32(more, zlib.crc32(_pack_header(header))))


def _pack_tile(tile: Tile, binding: int) -> bytes:
    return _CHECKSUM.pack(tile.checksum ^ binding) + leb128(len(tile.offsets)) + tile.offsets + tile.stream


def _unpack_tile(payload: bytes, binding: int) -> Tile:
    if len(payload) < _CHECKSUM.size:
        raise FormatError(f"the tile has {len(payload)} bytes, too few for its checksum")
    count, start = read_leb128(payload, _CHECKSUM.size)
    if len(payload) < start + count:
        raise FormatError(f"the tile ends inside its {count} border offsets")
    end = start + count
    return Tile(_CHECKSUM.unpack_from(payload)[0] ^ binding, payload[start:end], payload[end:])


def _pack_preview(preview: Preview, header: Header) -> bytes:
    start = leb128(preview.width) + leb128(preview.height) + _Q.pack(preview.q)
    return start + _pack_tile(preview.tile, _binding(header, start, _PREVIEW_NUMBER))


def _unpack_preview(payload: bytes, header: Header) -> Preview:
    width, position = read_leb128(payload, 0)
    height, position = read_leb128(payload, position)
    if not (0 < width <= MAX_PREVIEW_SIDE and 0 < height <= MAX_PREVIEW_SIDE) or len(payload) < position + _Q.size:
        raise FormatError(f"a preview of {width} x {height} pixels; at most {MAX_PREVIEW_SIDE} a side are allowed")
    (q,) = _Q.unpack_from(payload, position)
    position += _Q.size
    binding = _binding(header, payload[:position], _PREVIEW_NUMBER)
    return Preview(width, height, q, _unpack_tile(payload[position:], binding))


def _unknown_feature(kind: int) -> str:
    return f"the file needs feature {kind:#04x}, which this release does not know; a newer one may read it"
