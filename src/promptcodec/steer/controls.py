"""What a user asks for: scalars and maps by name, and how maps such as regions of interest are read."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import ImageError, LimitError, UnfitError, UsageError
from promptcodec.model.config import STRIDE
from promptcodec.model.layers.transforms import pad_to_multiple
from promptcodec.picture.read import read

if TYPE_CHECKING:
    from promptcodec.codec.adapters import MapSource

_NUMBER = re.compile(r"^\s*[0-9]*\.?[0-9]+\s*$")


@dataclass(frozen=True)
class Controls:
    """``scalars``: (B,) each, in [0, 1]; ``maps``: (B, 1, H, W) each, in [0, 1], of the picture's size or padded."""

    scalars: Mapping[str, Tensor] = field(default_factory=dict)
    maps: Mapping[str, Tensor] = field(default_factory=dict)

    def scalar(self, name: str) -> Tensor:
        """Return (B,). Raises UsageError where it was not given."""
        if name not in self.scalars:
            raise UsageError(f"the adapter needs a value for {name!r}; given are {_listed(self.scalars)}")
        return self.scalars[name]

    def map(self, name: str) -> Tensor:
        """Return (B, 1, H, W). Raises UsageError where it was not given."""
        if name not in self.maps:
            raise UsageError(f"the adapter needs a map {name!r}; given are {_listed(self.maps)}")
        return self.maps[name]

    def replaced(self, scalars: Mapping[str, Tensor]) -> Controls:
        """Return controls with some scalars replaced."""
        return replace(self, scalars={**self.scalars, **scalars})

    def float(self) -> Controls:
        """Return controls in single precision, as networks take them outside of a file."""
        return Controls({k: v.float() for k, v in self.scalars.items()}, {k: v.float() for k, v in self.maps.items()})

    def within(self, rows: slice, columns: slice) -> Controls:
        """Return controls with the part of every map that lies in these rows and columns."""
        return replace(self, maps={k: v[..., rows, columns] for k, v in self.maps.items()})

    def padded(self) -> Controls:
        """Return controls with maps padded like the picture, by repeating their last row and column."""
        return replace(self, maps={k: pad_to_multiple(v, STRIDE) for k, v in self.maps.items()})


def plane(value: Tensor, like: Tensor) -> Tensor:
    """Return a map (B, 1, h, w) of a constant (B,), with the size, batch and type of ``like`` (B, C, h, w)."""
    return value.to(like)[:, None, None, None].expand(like.shape[0], 1, *like.shape[2:])


def constant(value: float) -> Tensor:
    """Return a scalar control for one picture, (1,)."""
    return torch.tensor([float(value)], dtype=torch.float32)


def _listed(tensors: Mapping[str, Tensor]) -> str:
    return ", ".join(tensors) or "none"


def region_map(roi: MapSource, height: int, width: int) -> Tensor:
    """Return (1, 1, height, width) in [0, 1], 1 where the picture matters most.

    ``roi``: ``x,y,w,h`` in pixels of the upright picture (1 inside, 0 outside, cut at its borders), a grey picture of
    any size (white matters; whatever ``picture.read`` takes: a path, a PIL image, an array (H, W) of uint8, bool, or
    floats from 0 to 1), a number (0 to 1, everywhere), or a tensor (1, 1, H, W) of this size.

    Raises UsageError and ImageError.
    """
    if isinstance(roi, Tensor):
        if tuple(roi.shape) != (1, 1, height, width):
            raise UsageError(f"a region map of shape {tuple(roi.shape)}, expected (1, 1, {height}, {width})")
        return _in_range(roi)
    text = str(roi) if isinstance(roi, (str, int, float)) else ""
    if _NUMBER.match(text):
        if not 0 <= float(text) <= 1:
            raise UsageError(f"a map of {roi} everywhere, expected a number in 0..1")
        return torch.full((1, 1, height, width), float(text), dtype=torch.float32)
    if (rectangle := Rect.parse(text)) is not None:
        result = torch.zeros(1, 1, height, width, dtype=torch.float32)
        left, top = rectangle.left, rectangle.top
        rows, columns = (slice(max(a, 0), max(a + n, 0)) for a, n in ((top, rectangle.height), (left, rectangle.width)))
        result[..., rows, columns] = 1.0
        if not result.any():
            raise UnfitError(f"the region {roi} lies outside the picture of {width} x {height} pixels")
        return result
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a picture loses in 8 bits, a map does not miss
            picture = read(roi)  # type: ignore[arg-type]
    except (OSError, ImageError, LimitError) as error:
        raise ImageError(
            f"the region {_named(roi)} is neither x,y,w,h, a number, nor a picture that can be read: {error}"
        ) from None
    grey = Image.fromarray(picture.rgb).convert("L")
    mask = grey.resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)[None, None]


def _in_range(roi: Tensor) -> Tensor:
    """Return a map of floating point (or bool) from 0 to 1; what rounding has left outside is clipped."""
    values = roi.float()
    if not bool(torch.isfinite(values).all()) or float(values.min()) < -0.01 or float(values.max()) > 1.01:
        raise UsageError(
            f"a region map with values from {float(values.min()):g} to {float(values.max()):g}, expected 0 to 1"
        )
    return values.clamp(0, 1)


def _named(roi: MapSource) -> str:
    return str(roi) if isinstance(roi, (str, Path)) else f"({type(roi).__name__})"
