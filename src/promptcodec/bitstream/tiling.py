"""Where the tiles of a picture lie. In pixels; needs neither torch nor NumPy."""

from __future__ import annotations

import re
from dataclasses import dataclass

from promptcodec.errors import UnfitError

TILE_UNIT = 256  # pixels: tile origins are multiples of it, so that the windows of all attention layers stay in step
_RECTANGLE = re.compile(r"\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", re.ASCII)


@dataclass(frozen=True)
class Rect:
    """A rectangle of pixels."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Rect | None:
        """Read ``x,y,w,h``: whole pixels from the upper left corner; x and y may be negative. None for other texts."""
        match = _RECTANGLE.fullmatch(text)
        return None if match is None else cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.width},{self.height}"

    @property
    def right(self) -> int:
        """First column after it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row after it."""
        return self.top + self.height

    def intersection(self, other: Rect) -> Rect:
        """Return what both have in common; of no width or height where that is nothing."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        width, height = min(self.right, other.right) - left, min(self.bottom, other.bottom) - top
        return Rect(left, top, max(width, 0), max(height, 0))

    def seen_from(self, other: Rect) -> Rect:
        """Return the same rectangle counted from the upper left corner of ``other``."""
        return Rect(self.left - other.left, self.top - other.top, self.width, self.height)

    def over(self, stride: int) -> Rect:
        """In elements that stand for ``stride`` x ``stride`` pixels; the last ones may stand for fewer."""
        left, top = self.left // stride, self.top // stride
        return Rect(left, top, -(-self.right // stride) - left, -(-self.bottom // stride) - top)

    @property
    def rows(self) -> slice:
        """Its rows, to index an array with."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """Its columns."""
        return slice(self.left, self.right)


@dataclass(frozen=True)
class Grid:
    """Tiles of a picture in raster order; the last ones of a row and of a column may be smaller."""

    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def columns(self) -> int:
        """Tiles in a row."""
        return -(-self.width // self.tile_width)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return -(-self.height // self.tile_height)

    @property
    def count(self) -> int:
        """Tiles in all."""
        return self.columns * self.rows

    @property
    def whole(self) -> Rect:
        """The picture."""
        return Rect(0, 0, self.width, self.height)

    def checked(self, crop: Rect) -> Rect:
        """``crop``. Raises UnfitError where it is not inside the picture."""
        if crop.width < 1 or crop.height < 1 or crop.intersection(self.whole) != crop:
            raise UnfitError(
                f"a crop of {crop.width} x {crop.height} pixels at {crop.left},{crop.top} is not inside the picture of "
                f"{self.width} x {self.height}"
            )
        return crop

    def largest_region(self, halo: int) -> int:
        """Pixels of a tile in the middle of the picture with ``halo`` more on every side."""
        return min(self.tile_width + 2 * halo, self.width) * min(self.tile_height + 2 * halo, self.height)

    def tile(self, index: int) -> Rect:
        """Return the tile with this number."""
        row, column = divmod(index, self.columns)
        whole = Rect(column * self.tile_width, row * self.tile_height, self.tile_width, self.tile_height)
        return whole.intersection(self.whole)

    def around(self, part: Rect, halo: int) -> Rect:
        """``part`` with ``halo`` more pixels on every side, as far as the picture goes."""
        wider = Rect(part.left - halo, part.top - halo, part.width + 2 * halo, part.height + 2 * halo)
        return wider.intersection(self.whole)

    def touching(self, part: Rect) -> list[int]:
        """Numbers of the tiles that share a pixel with ``part``, which lies inside the picture."""
        columns = range(part.left // self.tile_width, -(-part.right // self.tile_width))
        rows = range(part.top // self.tile_height, -(-part.bottom // self.tile_height))
        return [row * self.columns + column for row in rows for column in columns]
