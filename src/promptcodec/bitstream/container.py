"""The .ptc file: signature, version, chunks with checksums; docs/format.md. Reading needs neither torch nor NumPy."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO

from promptcodec.bitstream.leb128 import leb128, read_leb128
from promptcodec.bitstream.records import AdapterRecord, pack_adapters, unpack_adapters
from promptcodec.bitstream.tiling import TILE_UNIT, Grid
from promptcodec.errors import FormatError, LimitError, VersionError

SIGNATURE = b"\x8fPTC"
VERSION = 2
UNRELEASED = (0, 1)  # versions that no release wrote

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
PREVIEW = 0x09 | ANCILLARY
# Reserved: no release writes them yet. docs/format.md says what they are for.
SAMPLE_FORMAT = 0x0A
GAIN_MAP = 0x0B | ANCILLARY
REFINEMENT = 0x0C | ANCILLARY

_GREY, _ALPHA, _TILED, _SAMPLE_FORMAT = 0x01, 0x02, 0x04, 0x08
_OTHER_SAMPLES = (
    "the picture has samples of more than 8 bits or of high dynamic range, which this release does not decode; "
    "a newer one may"
)
_FIXED = struct.Struct("<B8s4sH")  # flags, probability and pixel fingerprints, q
_CHECKSUM = struct.Struct("<I")
_CRC = struct.Struct("<I")
_Q = struct.Struct("<H")
_NUMBER = struct.Struct("<I")
_PREVIEW_NUMBER = 2**32 - 1  # of the preview among the tiles
HEADER_BYTES = 64  # no header chunk, signature included, is longer
_CHUNK_START = 6  # bytes of a type and the longest length
HASH_BYTES = 8
MAX_PREVIEW_SIDE = 1024

EXIF_PREFIX = b"Exif\x00\x00"  # before EXIF data in JPEG files and in Pillow's info; not in ours


@dataclass(frozen=True)
class Header:
    """What every reader needs first.

    ``grey``: the three channels are one. ``alpha``: the file has a lossless alpha plane. ``probability`` (8 bytes) and
    ``pixels`` (4 bytes) are the model's fingerprints. ``q``: the rate, 0..65535. ``tile_width`` and ``tile_height``:
    multiples of 256 pixels, 0 where the picture is a single tile.
    """

    width: int
    height: int
    probability: bytes
    pixels: bytes
    q: int
    grey: bool = False
    alpha: bool = False
    tile_width: int = 0
    tile_height: int = 0

    @property
    def grid(self) -> Grid:
        """The tiles."""
        return Grid(self.width, self.height, self.tile_width or self.width, self.tile_height or self.height)


@dataclass(frozen=True)
class Tile:
    """Coded latents: CRC-32 of the decoded integers, border offsets, and the stream of docs/stream.md.

    In a file the checksum is bound to the header, the adapters and the tile's number; ``pack`` and ``PtcReader`` bind
    and unbind it.
    """

    checksum: int
    offsets: bytes
    stream: bytes


@dataclass(frozen=True)
class Preview:
    """The picture in small, coded like a picture of its own by the same model, without adapters."""

    width: int
    height: int
    q: int
    tile: Tile


@dataclass(frozen=True)
class Metadata:
    """What travels beside the pixels; None where absent. ``alpha`` is the coded plane, see ``picture.alpha``."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    alpha: bytes | None = None
    source_hash: bytes | None = None


@dataclass(frozen=True)
class PtcFile:
    """A whole file, taken apart; tiles in raster order."""

    header: Header
    tiles: tuple[Tile, ...]
    metadata: Metadata = field(default_factory=Metadata)
    adapters: tuple[AdapterRecord, ...] = ()
    preview: Preview | None = None


def pack(file: PtcFile) -> bytes:
    """The bytes of a file. Raises LimitError for pictures and metadata beyond the format's limits."""
    header, metadata = file.header, file.metadata
    _check_size(header.width, header.height, MAX_PIXELS)
    if header.alpha != (metadata.alpha is not None):
        raise FormatError("the header's alpha flag and the alpha plane do not agree")
    if len(file.tiles) != header.grid.count:
        raise FormatError(f"the header asks for {header.grid.count} tiles, given are {len(file.tiles)}")
    parts = [SIGNATURE, bytes([VERSION]), _chunk(HEADER, _pack_header(header))]
    if file.preview is not None:
        parts.append(_chunk(PREVIEW, _pack_preview(file.preview, header)))
    if file.adapters:
        parts.append(_chunk(ADAPTERS, pack_adapters(file.adapters)))
    for kind, value in ((ICC, metadata.icc), (EXIF, metadata.exif), (XMP, metadata.xmp)):
        if value is not None:
            if len(value) > MAX_METADATA:
                raise LimitError(f"{_NAMES[kind]} of {len(value)} bytes; a file takes at most {MAX_METADATA}")
            from promptcodec.bitstream.deflate import deflated  # NumPy, which no reader of headers needs

            parts.append(_chunk(kind, deflated(value)))
    if metadata.source_hash is not None:
        parts.append(_chunk(SOURCE_HASH, metadata.source_hash))
    if metadata.alpha is not None:
        parts.append(_chunk(ALPHA, metadata.alpha))
    for number, tile in enumerate(file.tiles):
        parts.append(_chunk(TILE, _pack_tile(tile, _tile_binding(header, file.adapters, number))))
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
            elif kind not in _NAMES:
                if not kind & ANCILLARY:
                    raise VersionError(_OTHER_SAMPLES if kind == SAMPLE_FORMAT else _unknown_feature(kind))
                self._chunk(position, end)
            elif kind in chunks or kind == HEADER:
                raise FormatError(f"the file has a second {_NAMES[kind]} chunk")
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
        icc, exif, xmp = (_inflate(kind, chunks[kind]) if kind in chunks else None for kind in (ICC, EXIF, XMP))
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
        kind, length, payload = _chunk_start(self._bytes(position, position + _CHUNK_START), 0)
        end = position + payload + length + _CRC.size
        if end > self.size:
            raise FormatError(f"the file ends inside a chunk of {length} bytes: {end - self.size} bytes are missing")
        return kind, end

    def _chunk(self, position: int, end: int) -> bytes:
        return _one_chunk(self._bytes(position, end), position)[1]


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
    _, length, start = _chunk_start(data, position)
    data += file.read(max(start + length + _CRC.size - len(data), 0))
    return header, _unpack_preview(_one_chunk(data[position:], position)[1], header)


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


_NAMES = {
    HEADER: "header", TILE: "tile", ALPHA: "alpha", ICC: "ICC profile", EXIF: "EXIF", XMP: "XMP",
    SOURCE_HASH: "source hash", ADAPTERS: "adapters", PREVIEW: "preview",
}  # fmt: skip


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
    kind, payload, end = _one_chunk(data[len(SIGNATURE) + 1 :], len(SIGNATURE) + 1)
    if kind != HEADER:
        raise FormatError(f"the first chunk is {_NAMES.get(kind, hex(kind))}, expected the header")
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


def _chunk_start(data: bytes, position: int) -> tuple[int, int, int]:
    """Type and length of the chunk at ``position``, and where its payload begins."""
    if position >= len(data):
        raise FormatError("the file ends where a chunk should begin")
    length, start = read_leb128(data, position + 1)
    return data[position], length, start


def _one_chunk(data: bytes, position: int) -> tuple[int, bytes, int]:
    """Type and payload of the chunk that ``data`` begins with, and where it ends; it lies at ``position`` of a file."""
    kind, length, start = _chunk_start(data, 0)
    end = start + length
    if end + _CRC.size > len(data):
        raise FormatError(
            f"the file ends inside a chunk of {length} bytes: {end + _CRC.size - len(data)} bytes are missing"
        )
    if zlib.crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        raise FormatError(f"the {_NAMES.get(kind, 'unknown')} chunk at byte {position} is damaged (wrong CRC)")
    return kind, data[start:end], end + _CRC.size
