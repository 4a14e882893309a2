"""A file's bit allocation as a picture to lay over the decoded one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.model.arrays import Float64s

BLOCK = 16  # pixels a side for which an element of a bit allocation stands
_PERCENTILES = (2, 98)  # of all blocks, between which the scale runs: one expensive block hides no others
# From few bits to many: red, green, blue, opacity. Light on the way up, so that it is told apart without colour too.
_SCALE = ((40, 12, 90, 0), (120, 28, 110, 110), (200, 60, 70, 160), (245, 140, 30, 190), (252, 240, 150, 210))


@dataclass(frozen=True)
class BitOverlay:
    """``rgba``: uint8 (H, W, 4), transparent where few bits went. ``low`` and ``high``: the ends of its scale, in bits
    per pixel; blocks beyond them look like the ends."""

    rgba: NDArray[np.uint8]
    low: float
    high: float

    def image(self) -> Image.Image:
        """As a PIL image of mode RGBA."""
        return Image.fromarray(self.rgba)


def bit_overlay(bits: Float64s, height: int, width: int, scale: tuple[float, float] | None = None) -> BitOverlay:
    """Draw what ``Codec.bit_allocation`` gives, for a picture of ``height`` x ``width`` pixels.

    ``scale``: low and high in bits per pixel, for overlays of several files that are to be compared; by default from
    the file itself.
    """
    rows = np.diff(np.append(np.arange(0, height, BLOCK), height))
    columns = np.diff(np.append(np.arange(0, width, BLOCK), width))
    density = bits / np.outer(rows, columns)
    low, high = scale or tuple(float(value) for value in np.percentile(density, _PERCENTILES))
    # Of bits that span decades the logarithm is what the eye can follow.
    floor = max(low, 1e-4)
    share = np.log(np.maximum(density, floor) / floor) / max(np.log(max(high, floor) / floor), 1e-9)
    position = share.clip(0, 1) * (len(_SCALE) - 1)
    knots = np.arange(len(_SCALE))
    colours = np.stack([np.interp(position, knots, channel) for channel in zip(*_SCALE, strict=True)], axis=-1)
    blocks = np.rint(colours).astype(np.uint8)
    return BitOverlay(blocks.repeat(rows, 0).repeat(columns, 1), low, high)
