"""Maps that a user gives, such as regions of interest, as maps of the picture's size."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from promptcodec.errors import ImageError, UnfitError, UsageError

MapSource = str | Path | float | Image.Image | NDArray[Any] | Tensor
_NUMBER = re.compile(r"^\s*[0-9]*\.?[0-9]+\s*$")
_RECTANGLE = re.compile(r"^\s*(-?\d+)\s*,\s*(-?\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*$")


def region_map(roi: MapSource, height: int, width: int) -> Tensor:
    """(1, 1, height, width) in [0, 1], 1 where the picture matters most.

    ``roi``: ``x,y,w,h`` in pixels of the upright picture (1 inside, 0 outside, cut at its borders), a grey picture of
    any size (white matters; a path, or PIL's), an array (H, W) of any size, uint8, bool, or floats from 0 to 1, a
    number (0 to 1, everywhere), or a tensor (1, 1, H, W) of this size. Raises UsageError and ImageError.
    """
    if isinstance(roi, Tensor):
        if tuple(roi.shape) != (1, 1, height, width):
            raise UsageError(f"a region map of shape {tuple(roi.shape)}, expected (1, 1, {height}, {width})")
        return roi.float().clamp(0, 1)
    if isinstance(roi, np.ndarray):
        return _resized(Image.fromarray(_levels(roi)), height, width)
    if isinstance(roi, Image.Image):
        return _resized(roi, height, width)
    if _NUMBER.match(str(roi)):
        if not 0 <= float(str(roi)) <= 1:
            raise UsageError(f"a map of {roi} everywhere, expected a number in 0..1")
        return torch.full((1, 1, height, width), float(str(roi)), dtype=torch.float32)
    rectangle = _RECTANGLE.match(str(roi))
    if rectangle:
        x, y, w, h = map(int, rectangle.groups())
        result = torch.zeros(1, 1, height, width, dtype=torch.float32)
        result[..., max(y, 0) : max(y + h, 0), max(x, 0) : max(x + w, 0)] = 1.0
        if not result.any():
            raise UnfitError(f"the region {roi} lies outside the picture of {width} x {height} pixels")
        return result
    try:
        with Image.open(str(roi)) as image:
            return _resized(image, height, width)
    except (OSError, UnidentifiedImageError) as error:
        raise ImageError(
            f"the region {roi} is neither x,y,w,h, a number, nor a picture that can be read: {error}"
        ) from None


def _resized(image: Image.Image, height: int, width: int) -> Tensor:
    mask = image.convert("L").resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)[None, None]


def _levels(roi: NDArray[Any]) -> NDArray[np.uint8]:
    """A map as 8-bit levels. Raises UsageError for what is none."""
    if roi.ndim != 2 or not roi.size:
        raise UsageError(f"a region map of shape {roi.shape}, expected an array (height, width)")
    if roi.dtype == np.uint8:
        return roi.astype(np.uint8, copy=False)
    if roi.dtype == np.bool_:
        return np.where(roi, np.uint8(255), np.uint8(0))
    if not np.issubdtype(roi.dtype, np.floating):
        raise UsageError(f"a region map of {roi.dtype}, expected uint8, bool, or floats from 0 to 1")
    if not (np.isfinite(roi).all() and roi.min() >= 0 and roi.max() <= 1):
        raise UsageError(f"a region map from {roi.min():g} to {roi.max():g}, expected floats from 0 to 1")
    levels: NDArray[np.uint8] = np.rint(roi * 255).astype(np.uint8)
    return levels
