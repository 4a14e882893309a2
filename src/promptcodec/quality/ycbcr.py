"""BT.601 YCbCr at full range, as JPEG, HEIC and the papers' YUV metrics have it, in floating point."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptcodec.quality.pixels import Pixels

Planes = NDArray[np.float32]

_RED, _GREEN, _BLUE = 0.299, 0.587, 0.114


def to_ycbcr(rgb: Pixels) -> Planes:
    """Return uint8 (H, W, 3) to float32 (3, H, W): Y in 0 to 255, Cb and Cr around 128, not rounded."""
    r, g, b = (rgb[..., channel].astype(np.float32) for channel in range(3))
    y = _RED * r + _GREEN * g + _BLUE * b
    return np.stack([y, 128 + (b - y) / (2 - 2 * _BLUE), 128 + (r - y) / (2 - 2 * _RED)])


def to_rgb(ycbcr: Planes) -> Pixels:
    """Return float32 (3, H, W) back to uint8 (H, W, 3), rounded and clipped."""
    y, cb, cr = ycbcr
    b = y + (2 - 2 * _BLUE) * (cb - 128)
    r = y + (2 - 2 * _RED) * (cr - 128)
    g = (y - _RED * r - _BLUE * b) / _GREEN
    pixels: Pixels = np.rint(np.stack([r, g, b], axis=-1)).clip(0, 255).astype(np.uint8)
    return pixels


def halve(plane: Planes) -> Planes:
    """Return (H, W) with even sides to (H/2, W/2): means of 2x2."""
    height, width = plane.shape
    halved: Planes = plane.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3), dtype=np.float32)
    return halved


def double(plane: Planes) -> Planes:
    """Return (H, W) to (2 H, 2 W), bilinear, samples in the middle of 2x2."""
    for axis in (0, 1):
        edge = np.pad(plane, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        before, after = (np.take(edge, range(start, start + plane.shape[axis]), axis) for start in (0, 2))
        stacked = np.stack([0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after], axis=axis + 1)
        shape = [2 * side if a == axis else side for a, side in enumerate(plane.shape)]
        plane = stacked.reshape(shape).astype(np.float32)
    return plane
