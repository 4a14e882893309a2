"""Crops side by side, with what they cost and what they are worth under them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import UsageError
from promptcodec.quality.pixels import Pixels

_BACKGROUND, _INK, _FAINT, _ACCENT = (255, 255, 255), (28, 28, 30), (110, 110, 115), (0, 95, 184)
_MARGIN, _GAP = 28, 18
_TITLE, _NAME, _TEXT = 30, 24, 19  # font sizes in pixels
_CROP_SIDE = 224
_TILE_WIDTH = 360  # crops are enlarged by whole factors up to about this
_STRIDE = 16


@dataclass(frozen=True)
class Tile:
    """One crop's picture, its name and the lines under it; ``accent`` marks the one that the page is about."""

    pixels: Pixels
    name: str
    lines: tuple[str, ...]
    accent: bool = False


def montage(title: str, tiles: Sequence[Tile], crop: Rect) -> Image.Image:
    """Return the ``crop`` of every tile's picture, on a page about 16:10.

    Raises UsageError for a crop that does not lie inside the pictures.
    """
    check_crop(crop, tiles[0].pixels)
    width, height = crop.width, crop.height
    zoom = max(1, round(_TILE_WIDTH / width))
    tile_width, caption = max(width * zoom, 260), _NAME + 8 + max(len(t.lines) for t in tiles) * (_TEXT + 6) + 10
    tile_height = height * zoom + caption
    columns = _columns(len(tiles), tile_width, tile_height)
    rows = -(-len(tiles) // columns)
    head = _MARGIN + _TITLE + _TEXT + 30
    page = Image.new(
        "RGB",
        (2 * _MARGIN + columns * (tile_width + _GAP) - _GAP, head + rows * (tile_height + _GAP) - _GAP + _MARGIN // 2),
        _BACKGROUND,
    )
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN - 4), title, _INK, _font(_TITLE))
    place = f"crop of {width}x{height} pixels at {crop.left},{crop.top}" + (
        f", enlarged {zoom} times" if zoom > 1 else ""
    )
    draw.text((_MARGIN, _MARGIN + _TITLE + 6), place, _FAINT, _font(_TEXT))
    for index, tile in enumerate(tiles):
        x = _MARGIN + index % columns * (tile_width + _GAP)
        y = head + index // columns * (tile_height + _GAP)
        _draw_tile(page, draw, tile, crop, zoom, (x, y))
    return page


def check_crop(crop: Rect, pixels: Pixels) -> None:
    """Raise UsageError for a crop that does not lie inside the picture."""
    rows, columns, _ = pixels.shape
    if not (crop.width and crop.height and crop == crop.intersection(Rect(0, 0, columns, rows))):
        raise UsageError(f"the crop {crop} is not inside {columns}x{rows}")


def most_detailed(pixels: Pixels, side: int = _CROP_SIDE) -> Rect:
    """Return the square of at most ``side`` pixels with the most detail, so that there is something to compare.

    Detail is the logarithm of the gradient: fine texture counts, a single hard edge does not.
    """
    height, width, _ = pixels.shape
    rows, columns = min(side, height), min(side, width)
    luma = pixels.astype(np.float32).mean(axis=2)
    detail = np.zeros((height + 1, width + 1))
    gradient = np.abs(np.diff(luma, axis=0, append=luma[-1:])) + np.abs(np.diff(luma, axis=1, append=luma[:, -1:]))
    detail[1:, 1:] = np.log1p(gradient).cumsum(axis=0).cumsum(axis=1)
    y, x = (np.arange(0, whole - part + 1, _STRIDE) for whole, part in ((height, rows), (width, columns)))
    y, x = y[:, None], x[None]
    inside = detail[y + rows, x + columns] - detail[y, x + columns] - detail[y + rows, x] + detail[y, x]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    return Rect(int(column) * _STRIDE, int(row) * _STRIDE, columns, rows)


def _draw_tile(
    page: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, crop: Rect, zoom: int, corner: tuple[int, int]
) -> None:
    width, height = crop.width, crop.height
    x, y = corner
    image = Image.fromarray(np.ascontiguousarray(tile.pixels[crop.rows, crop.columns]))
    page.paste(image.resize((width * zoom, height * zoom), Image.Resampling.NEAREST), corner)
    if tile.accent:
        draw.rectangle((x - 4, y - 4, x + width * zoom + 3, y + height * zoom + 3), outline=_ACCENT, width=3)
    y += height * zoom + 8
    draw.text((x, y), tile.name, _ACCENT if tile.accent else _INK, _font(_NAME))
    y += _NAME + 8
    for line in tile.lines:
        draw.text((x, y), line, _FAINT, _font(_TEXT))
        y += _TEXT + 6


def _columns(tiles: int, width: int, height: int) -> int:
    """Return the number of columns whose page is closest to 16:10, without almost empty rows where that can be."""

    def shape(columns: int) -> float:
        rows = -(-tiles // columns)
        empty = columns * rows - tiles
        return abs(math.log(columns * width / (rows * height) / 1.6)) + 0.12 * empty

    return min(range(1, tiles + 1), key=shape)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
