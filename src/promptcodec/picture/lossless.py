"""Whether a lossless PNG would beat a lossy file: true of screenshots, icons and line art, never of photos."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from promptcodec.picture.picture import Picture

ROWS = 256  # looked at together, so that no second picture is in memory
FLAT = 0.25  # share of pixels equal to their left neighbour below which a PNG has no chance


def lossless_size(picture: Picture) -> int | None:
    """Return the bytes that a PNG of the pixels takes, without alpha; None where it cannot beat a lossy file."""
    pixels = picture.rgb[:, :, 0] if picture.grey else picture.rgb
    if pixels.shape[1] > 1:
        flat = sum(_flat(pixels[top : top + ROWS]) for top in range(0, len(pixels), ROWS))
        if flat < FLAT * len(pixels) * (pixels.shape[1] - 1):
            return None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.tell()


def _flat(rows: np.ndarray) -> int:
    """Return how many pixels of (rows, columns) or (rows, columns, 3) equal their left neighbour."""
    equal = rows[:, 1:] == rows[:, :-1]
    return int(np.count_nonzero(equal if equal.ndim == 2 else equal.all(axis=2)))
