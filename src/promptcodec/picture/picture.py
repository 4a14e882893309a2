"""A picture as the codec sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """Pixels and what travels with them.

    ``rgb``: uint8 (H, W, 3), three equal channels where ``grey``. ``alpha``: uint8 (H, W) or None. ``icc``, ``exif``
    (TIFF data, without the ``Exif`` prefix of JPEG files) and ``xmp``: bytes or None; no ICC profile means sRGB.
    """

    rgb: NDArray[np.uint8]
    grey: bool = False
    alpha: NDArray[np.uint8] | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    def stripped(self) -> Picture:
        """Return the picture without EXIF and XMP; the ICC profile stays, as the colours depend on it."""
        return replace(self, exif=None, xmp=None)
