"""8-bit RGB pictures as the measures take them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import ImageError

Pixels = NDArray[np.uint8]
"""uint8 (H, W, 3), RGB."""

Mask = NDArray[np.uint8]
"""uint8 (H, W): the weight of each pixel, 255 at most."""


def check_alike(reference: Pixels, decoded: Pixels) -> None:
    """Raise ImageError unless both are 8-bit RGB pictures of one size."""
    for pixels in (reference, decoded):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ImageError(f"expected 8-bit RGB pixels (height, width, 3), found {pixels.dtype} {pixels.shape}")
    if reference.shape != decoded.shape:
        raise ImageError(f"the decoded picture has shape {decoded.shape}, the original {reference.shape}")
