"""Colour: everything becomes RGB or grey; RGB profiles travel with the picture, all others are applied and dropped."""

from __future__ import annotations

import warnings

from PIL import Image

from promptcodec.picture.srgb import through_profile


def to_rgb_or_grey(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """An image of any mode without alpha to mode RGB or L, and the ICC profile that stays with it.

    RGB keeps an RGB profile. What comes with a profile of its own colour space (CMYK, grey, Lab) is converted to sRGB
    through it; what comes without goes by Pillow's conversion.
    """
    space = _space(icc)
    if icc is not None and space is None:
        warnings.warn("the ICC profile is damaged; it is left out and sRGB assumed", stacklevel=4)
        icc = None
    mode = image.mode
    if mode in ("P", "RGBX"):
        image, mode = image.convert("RGB"), "RGB"
    elif mode == "1":
        image, mode = image.convert("L"), "L"
    if mode == "RGB":
        return image, icc if space == b"RGB " else None
    if icc is not None and space == _SPACES.get(mode):
        converted = through_profile(image, icc)
        if converted is not None:
            # Greys stay greys: sRGB gives them three equal channels.
            return (converted.getchannel("G") if mode == "L" else converted), None
    return (image if mode == "L" else image.convert("RGB")), None


_SPACES = {"CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab ", "YCbCr": b"YCbr"}


def _space(icc: bytes | None) -> bytes | None:
    """The colour space that a profile is for; None for what is no profile."""
    if icc is None or len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    return icc[16:20]
