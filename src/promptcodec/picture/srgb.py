"""Pictures in sRGB: what cannot carry a profile gets its colours instead."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
from PIL import Image

from promptcodec.picture.picture import Picture


def in_srgb(picture: Picture) -> Picture:
    """Return the picture with its profile applied and dropped. Warns where the profile cannot be applied."""
    if picture.icc is None:
        return picture
    converted = None
    if picture.icc[16:20] == b"RGB ":
        converted = through_profile(Image.fromarray(picture.rgb), picture.icc)
    elif picture.icc[16:20] == b"GRAY" and picture.grey:
        converted = through_profile(Image.fromarray(picture.rgb[:, :, 0]), picture.icc)
    else:
        warnings.warn("the ICC profile is for other colours than the picture's; it is left out", stacklevel=3)
    if converted is None:
        return replace(picture, icc=None)
    rgb = np.asarray(converted)
    if picture.grey:  # greys stay greys: sRGB gives them three equal channels
        rgb = np.repeat(rgb[:, :, 1:2], 3, axis=2)
    return replace(picture, rgb=rgb, icc=None)


def through_profile(image: Image.Image, icc: bytes, exact: bool = False) -> Image.Image | None:
    """Return the image in sRGB, mode RGB; None, with a warning, where the profile cannot be applied.

    ``exact``: without tables in the place of curves, which are too coarse for dark samples.
    """
    from PIL import ImageCms

    try:
        source, target = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB")
        flags = ImageCms.Flags.NOOPTIMIZE if exact else ImageCms.Flags.NONE
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError):
        warnings.warn("the ICC profile cannot be applied; the colours are converted without it", stacklevel=5)
        return None
