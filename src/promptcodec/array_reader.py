"""Read .ptc files as arrays for training: whole, a crop of which only the tiles are read, or the preview."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from promptcodec.api import File, codec_for, load, opened, preview
from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.bitstream.contents import Header
from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import UnfitError, UsageError
from promptcodec.picture.picture import Picture
from promptcodec.picture.srgb import in_srgb

if TYPE_CHECKING:
    from promptcodec.codec.codec import Codec
    from promptcodec.model.inference.precision import Precision

Draw = Callable[[int], int]
"""Returns a random integer from 0 to below its argument."""


@dataclass(frozen=True)
class ArrayReader:
    """What of every file is wanted, and how it is decoded. Holds settings only, so it can be sent to other processes.

    At most one of three is given, else pictures come whole:
    ``crop``: (x, y, width, height), the same part of every picture.
    ``crop_size``: the side of a square, or (height, width), of a part that lies at random or in the middle (``place``).
    ``preview``: the picture in small, 256 pixels on its longer side; read from the first part of files that hold one.

    ``pad_if_needed``: pictures smaller than ``crop_size`` get black pixels at the right and below, else they are an
    error. ``alpha``: a fourth channel, 255 where a file has none, for whole pictures and crops; without it what is
    transparent shows the colours beneath. ``look``, ``settings``, ``device``, ``precision`` and ``max_pixels``: see
    ``promptcodec.decode``. ``model``: that of the files, where it is not shipped.

    Raises UsageError for settings that do not fit together.
    """

    crop: tuple[int, int, int, int] | None = None
    crop_size: int | tuple[int, int] | None = None
    place: Literal["random", "centre"] = "random"
    preview: bool = False
    pad_if_needed: bool = False
    alpha: bool = False
    look: float | None = None
    settings: Mapping[str, float] | None = None
    model: str | Path | None = None
    device: str = "cpu"
    precision: Precision = "float32"
    max_pixels: int | None = MAX_PIXELS

    def __post_init__(self) -> None:
        parts = {"crop": self.crop is not None, "crop_size": self.crop_size is not None, "preview": self.preview}
        if sum(parts.values()) > 1:
            raise UsageError(
                f"{' and '.join(name for name, is_set in parts.items() if is_set)} are given, expected one"
            )
        if self.place not in ("random", "centre"):
            raise UsageError(f'place is {self.place!r}, expected "random" or "centre"')
        if self.crop_size is not None and min(self._sides()) < 1:
            raise UsageError(f"crop_size is {self.crop_size}, expected a positive side, or (height, width)")
        if self.preview and (self.alpha or self.look is not None or self.settings):
            raise UsageError("previews have neither alpha nor settings: leave out preview, or alpha, look and settings")

    def read(self, file: File, draw: Draw) -> NDArray[np.uint8]:
        """Decode a .ptc file (path, bytes or file object) to sRGB pixels (H, W, 3), with ``alpha`` (H, W, 4).

        ``draw`` places random crops. Raises as ``promptcodec.decode`` does, UnfitError where a crop is not inside the
        picture, OSError.
        """
        if self.preview:
            codec = None if self.model is None else self._codec(None)
            image = preview(file, device=self.device, max_pixels=self.max_pixels, codec=codec, precision=self.precision)
            grey, icc = image.mode in ("L", "LA"), image.info.get("icc_profile")  # which stored previews never have
            return in_srgb(Picture(np.array(image.convert("RGB")), grey, icc=icc)).rgb
        with opened(file, self.max_pixels) as reader:
            part = self._part(reader.header, draw)
            picture = in_srgb(
                self._codec(reader.header).decode_picture(
                    reader, look=self.look, settings=self.settings, max_pixels=self.max_pixels, crop=part
                )
            )
        pixels = picture.rgb
        if self.alpha:
            alpha = np.full(pixels.shape[:2], 255, np.uint8) if picture.alpha is None else picture.alpha
            pixels = np.dstack([pixels, alpha])
        return self._padded(pixels)

    def _codec(self, header: Header | None) -> Codec:
        if self.model is not None or header is None:
            return load(self.model, self.device, self.precision)
        return codec_for(header, self.device, self.precision)

    def _sides(self) -> tuple[int, int]:
        assert self.crop_size is not None
        return (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else self.crop_size

    def _part(self, header: Header, draw: Draw) -> Rect | None:
        if self.crop is not None:
            return Rect(*self.crop)
        if self.crop_size is None:
            return None
        height, width = self._sides()
        if not self.pad_if_needed and (header.height < height or header.width < width):
            raise UnfitError(
                f"the picture of {header.width} x {header.height} pixels is smaller than the crop of {width} x "
                f"{height}; leave it out, or set pad_if_needed"
            )
        height, width = min(height, header.height), min(width, header.width)
        room = header.width - width, header.height - height
        left, top = (draw(n + 1) for n in room) if self.place == "random" else (n // 2 for n in room)
        return Rect(left, top, width, height)

    def _padded(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.crop_size is None:
            return pixels
        below, right = (side - have for side, have in zip(self._sides(), pixels.shape[:2], strict=True))
        return np.pad(pixels, ((0, below), (0, right), (0, 0))) if below or right else pixels
