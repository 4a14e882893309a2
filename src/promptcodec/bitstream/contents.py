"""What a .ptc file holds (header, tiles, preview, adapters, metadata, numbers) and the bytes of each; docs/format.md.

Needs neither torch nor NumPy.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from promptcodec.bitstream.tiling import TILE_UNIT, Grid
from promptcodec.errors import FormatError, LimitError, VersionError

Q_STEPS = 2**16 - 1  # of a rate q: a header has a whole number, networks q / Q_STEPS in [0, 1]
MAX_SIDE = 65_535  # pixels of a picture
MAX_PREVIEW_SIDE = 1024
MAX_METADATA = 2**24  # bytes of one inflated ICC, EXIF or XMP chunk
FINGERPRINT_BYTES = 8  # of an adapter
MAX_NAME = 100  # bytes of an adapter's name

_GREY, _ALPHA, _TILED, _SAMPLE_FORMAT = 0x01, 0x02, 0x04, 0x08
OTHER_SAMPLES = (
    "the picture has samples of more than 8 bits or of high dynamic range, which this release does not decode; "
    "a newer one may"
)
_FIXED = struct.Struct("<B8s4sH")  # flags, probability and pixel fingerprints, q
_CHECKSUM = struct.Struct("<I")
_Q = struct.Struct("<H")
_NUMBER = struct.Struct("<I")
_PREVIEW_NUMBER = 2**32 - 1  # of the preview among the tiles


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

    @property
    def tile_count(self) -> int:
        """Tiles in all."""
        return self.grid.count if self.tile_width else 1


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
class AdapterRecord:
    """An adapter that a decoder needs: its name, its fingerprint (8 bytes) and what its encoder half signalled."""

    name: str
    fingerprint: bytes
    signal: bytes = b""


@dataclass(frozen=True)
class PtcFile:
    """A whole file, taken apart; tiles in raster order."""

    header: Header
    tiles: tuple[Tile, ...]
    metadata: Metadata = field(default_factory=Metadata)
    adapters: tuple[AdapterRecord, ...] = ()
    preview: Preview | None = None


def leb128(value: int) -> bytes:
    """Code ``value`` >= 0 as all numbers of variable length are: unsigned LEB128, seven bits a byte, low ones first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at ``position`` and the position after it.

    Raises FormatError beyond 5 bytes or the data's end, and for numbers of more bytes than they need: every number has
    one spelling, so that what was read is written as it was.
    """
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise FormatError(f"the data has the number {value} in more bytes than it needs")
            return value, position
    raise FormatError("the data ends inside a number, or has one of more than 5 bytes")


def pack_header(header: Header) -> bytes:
    """Return the payload of a header chunk. Raises FormatError for tiles that a file cannot have."""
    flags = _GREY * header.grey | _ALPHA * header.alpha | _TILED * bool(header.tile_width)
    tiles = b""
    if header.tile_width:
        if header.tile_width % TILE_UNIT or header.tile_height % TILE_UNIT or header.grid.count == 1:
            raise FormatError(f"tiles of {header.tile_width} x {header.tile_height} pixels are no multiples of 256")
        tiles = leb128(header.tile_width // TILE_UNIT) + leb128(header.tile_height // TILE_UNIT)
    size = leb128(header.width) + leb128(header.height)
    return size + _FIXED.pack(flags, header.probability, header.pixels, header.q) + tiles


def unpack_header(payload: bytes, max_pixels: int | None) -> Header:
    """Return the header in a payload. Raises FormatError, VersionError, and LimitError for more than ``max_pixels``."""
    width, position = read_leb128(payload, 0)
    height, position = read_leb128(payload, position)
    if len(payload) - position < _FIXED.size:
        raise FormatError(f"the header has {len(payload)} bytes, expected {position + _FIXED.size}")
    flags, probability, pixels, q = _FIXED.unpack_from(payload, position)
    position += _FIXED.size
    if flags & _SAMPLE_FORMAT:
        raise VersionError(OTHER_SAMPLES)
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
    check_size(width, height, max_pixels)
    tiles = (tile_width, tile_height)
    header = Header(width, height, probability, pixels, q, bool(flags & _GREY), bool(flags & _ALPHA), *tiles)
    if flags & _TILED and (0 in tiles or max(tiles) > MAX_SIDE + 1 or header.grid.count == 1):
        raise FormatError(f"tiles of {tile_width} x {tile_height} pixels do not divide {width} x {height} pixels")
    return header


def check_size(width: int, height: int, max_pixels: int | None) -> None:
    """Raise FormatError for an empty picture, LimitError for one with more than ``max_pixels``, or too long a side."""
    if width < 1 or height < 1:
        raise FormatError(f"a picture of {width} x {height} pixels")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {MAX_SIDE} a side are allowed")
    if max_pixels is not None and width * height > max_pixels:
        raise LimitError(f"a picture of {width} x {height} pixels; at most {max_pixels} in all are allowed")


def pack_adapters(records: tuple[AdapterRecord, ...]) -> bytes:
    """Return the payload of an adapters chunk. Raises FormatError for names and fingerprints of other lengths."""
    return b"".join(map(_pack_one, records))


def _pack_one(record: AdapterRecord) -> bytes:
    name = record.name.encode()
    if len(record.fingerprint) != FINGERPRINT_BYTES or not 0 < len(name) <= MAX_NAME:
        raise FormatError(f"an adapter has a name of 1 to {MAX_NAME} bytes and a fingerprint of {FINGERPRINT_BYTES}")
    return record.fingerprint + leb128(len(name)) + name + leb128(len(record.signal)) + record.signal


def unpack_adapters(payload: bytes) -> tuple[AdapterRecord, ...]:
    """Return the records in a payload. Raises FormatError."""
    records, position = [], 0
    while position < len(payload):
        fingerprint = payload[position : position + FINGERPRINT_BYTES]
        name, position = _counted(payload, position + FINGERPRINT_BYTES)
        signal, position = _counted(payload, position)
        try:
            records.append(AdapterRecord(name.decode(), fingerprint, signal))
        except UnicodeDecodeError:
            raise FormatError("the name of an adapter is no UTF-8") from None
        if not 0 < len(name) <= MAX_NAME:
            raise FormatError(f"the name of an adapter has {len(name)} bytes, expected 1 to {MAX_NAME}")
    if not records:
        raise FormatError("the adapters chunk is empty")
    return tuple(records)


def _counted(payload: bytes, position: int) -> tuple[bytes, int]:
    """Return the bytes with their number in front, and the position after them."""
    count, start = read_leb128(payload, position)
    if start + count > len(payload):
        raise FormatError("the adapters chunk ends inside an adapter")
    return payload[start : start + count], start + count


def tile_binding(header: Header, adapters: tuple[AdapterRecord, ...], number: int) -> int:
    """Return what a tile's checksum is XORed with: another one wherever the tile would decode to something else."""
    return _binding(header, pack_adapters(adapters), number)


def _binding(header: Header, more: bytes, number: int) -> int:
    return zlib.crc32(_NUMBER.pack(number), zlib.crc32(more, zlib.crc32(pack_header(header))))


def pack_tile(tile: Tile, binding: int) -> bytes:
    """Return the payload of a tile chunk; ``binding``: what ``tile_binding`` gives."""
    return _CHECKSUM.pack(tile.checksum ^ binding) + leb128(len(tile.offsets)) + tile.offsets + tile.stream


def unpack_tile(payload: bytes, binding: int) -> Tile:
    """Return the tile in a payload. Raises FormatError."""
    if len(payload) < _CHECKSUM.size:
        raise FormatError(f"the tile has {len(payload)} bytes, too few for its checksum")
    count, start = read_leb128(payload, _CHECKSUM.size)
    if len(payload) < start + count:
        raise FormatError(f"the tile ends inside its {count} border offsets")
    end = start + count
    return Tile(_CHECKSUM.unpack_from(payload)[0] ^ binding, payload[start:end], payload[end:])


def pack_preview(preview: Preview, header: Header) -> bytes:
    """Return the payload of a preview chunk."""
    start = leb128(preview.width) + leb128(preview.height) + _Q.pack(preview.q)
    return start + pack_tile(preview.tile, _binding(header, start, _PREVIEW_NUMBER))


def unpack_preview(payload: bytes, header: Header) -> Preview:
    """Return the preview in a payload. Raises FormatError."""
    width, position = read_leb128(payload, 0)
    height, position = read_leb128(payload, position)
    if not (0 < width <= MAX_PREVIEW_SIDE and 0 < height <= MAX_PREVIEW_SIDE) or len(payload) < position + _Q.size:
        raise FormatError(f"a preview of {width} x {height} pixels; at most {MAX_PREVIEW_SIDE} a side are allowed")
    (q,) = _Q.unpack_from(payload, position)
    position += _Q.size
    binding = _binding(header, payload[:position], _PREVIEW_NUMBER)
    return Preview(width, height, q, unpack_tile(payload[position:], binding))
