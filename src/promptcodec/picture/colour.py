"""Colour: everything becomes RGB or grey; RGB profiles travel with the picture, all others are applied and dropped."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.picture.samples import table
from promptcodec.picture.srgb import through_profile


def to_rgb_or_grey(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return an image of any mode without alpha to mode RGB or L, and the ICC profile that stays with it.

    RGB keeps an RGB profile. What comes with a profile of its own colour space (CMYK, Lab) is converted to sRGB through
    it; what comes without goes by Pillow's conversion. Grey comes without: ``grey_table`` applies its profile.
    """
    space = space_of(icc)
    if icc is not None and space is None:
        warnings.warn("the ICC profile is damaged; it is left out and sRGB assumed", stacklevel=4)
        icc = None
    mode = image.mode
    if mode in ("P", "RGBX") or (mode == "YCbCr" and space == b"RGB "):
        image, mode = image.convert("RGB"), "RGB"
    elif mode == "1":
        image, mode = image.convert("L"), "L"
    if icc is not None and space != _SPACES.get(mode):
        warnings.warn(f"the ICC profile is for {_named(space)}, not for {mode} pixels; it is left out", stacklevel=4)
        icc = None
    if mode == "RGB":
        return image, icc
    if icc is not None and mode != "L":
        converted = through_profile(image, icc)
        if converted is not None:
            return converted, None
    return (image if mode == "L" else image.convert("RGB")), None


def grey_table(icc: bytes, white: int) -> NDArray[np.uint8]:
    """Return uint8 (white + 1): sRGB's level of every grey sample by its profile, which is one for grey or for RGB.

    A profile that is sRGB's but for rounding changes nothing; one that cannot be applied neither, with a warning.
    """
    greys = (np.arange(white + 1, dtype=np.uint32) * 65_535 + white // 2) // white
    coarse = np.arange(256, dtype=np.uint8)[None]
    if space_of(icc) == b"GRAY":
        deep, shallow = Image.fromarray(greys.astype(np.uint16)[None]), Image.fromarray(coarse)
    else:  # of RGB, there are profiles for 8 bits alone
        deep, shallow = None, Image.fromarray(np.repeat(coarse[:, :, None], 3, axis=2))
    converted = through_profile(shallow, icc, exact=True)
    if converted is None:
        return table(white)
    of_256 = np.asarray(converted)[0, :, 1]
    if np.abs(of_256.astype(int) - coarse[0]).max() <= 1:
        return table(white)
    if deep is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the deep mode is not supported, the shallow one is
            converted = through_profile(deep, icc, exact=True)
        if converted is not None:
            levels: NDArray[np.uint8] = np.array(converted)[0, :, 1]
            return levels
    interpolated: NDArray[np.uint8] = np.rint(np.interp(greys / 257, np.arange(256), of_256)).astype(np.uint8)
    return interpolated


_SPACES = {"CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab ", "YCbCr": b"YCbr", "RGB": b"RGB "}


def _named(space: bytes | None) -> str:
    return (space or b"").decode("ascii", "replace").strip() or "no known colours"


def space_of(icc: bytes | None) -> bytes | None:
    """Return the colour space that a profile is for; None for what is no profile."""
    if icc is None or len(icc) < 132 or icc[36:40] != b"acsp":
        return None
    return icc[16:20]
