"""What a .ptc file holds: header, tiles, preview, metadata. Needs neither torch nor NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptcodec.bitstream.records import AdapterRecord
from promptcodec.bitstream.tiling import Grid


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
