"""Pictures as the page shows them: at the size of a screen, in files that a browser opens."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.picture.picture import Picture
from promptcodec.picture.write import to_pil

VIEW_PIXELS = 2_000_000  # of a view, at most: about a screen's
_WEBP_SIDE = 16_383  # pixels that WebP takes a side


def at_view_size(picture: Picture) -> Picture:
    """Return the picture, scaled down to VIEW_PIXELS where it is larger."""
    height, width = picture.rgb.shape[:2]
    scale = math.sqrt(VIEW_PIXELS / (height * width))
    if scale >= 1:
        return picture
    size = max(1, int(width * scale)), max(1, int(height * scale))

    def scaled(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))

    alpha = None if picture.alpha is None else scaled(picture.alpha)
    return replace(picture, rgb=scaled(picture.rgb), alpha=alpha)


def browser_file(picture: Picture, nearby: bool) -> bytes:
    """Return a lossless file, with the profile, without what else a picture has beside its pixels.

    ``nearby``: for a browser on this machine, to which bytes travel in no time: BMP, where it can hold the picture.
    Else WebP or PNG.
    """
    file, image = io.BytesIO(), to_pil(picture.stripped())
    if nearby and image.mode in ("L", "RGB") and picture.icc is None:
        image.save(file, "BMP")
    elif max(image.size) <= _WEBP_SIDE:  # the quicker one, and the smaller file
        image.save(file, "WEBP", lossless=True, exact=True, method=0, quality=0)
    else:
        image.save(file, "PNG", compress_level=1)
    return file.getvalue()
