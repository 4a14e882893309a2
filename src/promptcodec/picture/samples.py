"""What the values of samples mean: their type says which value is black and which is white, never the values."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import ImageError

_OVERSHOOT = 0.5  # of white, as networks and resampling leave it
_UNDERSHOOT = 0.25  # below black; a picture in [-1, 1] goes further
_HALF_A_LEVEL = 0.5 / 255


def eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the samples of an array as 8 bits, by the array's type.

    bool: black and white. uint8: 0..255. uint16: 0..65535, with a warning. All other integers: 0..255, as most of what
    makes them counts in 8 bits. Floating point: 0..1; what is a little outside is clipped, with a warning. Raises
    ImageError for other types and for values outside, with what to do.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if kind == "u" and size == 1:
        return values.astype(np.uint8, copy=False)
    if kind == "u" and size == 2:
        return from_white(values, 65_535)
    if kind in "ui":
        least, most = int(values.min()), int(values.max())
        if least < 0 or most > 255:
            raise ImageError(
                f"expected integers of type {values.dtype} in 0..255, found {least} to {most}; convert samples of 16 "
                "bits (0..65535) to uint16, others to floating point in 0..1"
            )
        return values.astype(np.uint8)
    if kind == "f":
        return _from_floats(values)
    raise ImageError(f"samples of type {values.dtype} are not supported; convert them to uint8, uint16 or float32")


def from_white(values: NDArray[Any], white: int, bits: int | None = None) -> NDArray[np.uint8]:
    """Return unsigned samples whose brightest value is ``white`` as 8 bits; warn where they are of more ``bits``."""
    bits = white.bit_length() if bits is None else bits
    if bits > 8:
        warn_of_depth(bits)
        warn_of_darkness(values, white)
    if white < 2**16:
        return np.take(table(white), values)
    levels: NDArray[np.uint8] = ((values.astype(np.float64) * 255 + white / 2) // white).astype(np.uint8)
    return levels


def table(white: int) -> NDArray[np.uint8]:
    """Return uint8 (white + 1): the level of every value from black (0) to ``white``."""
    levels = (np.arange(white + 1, dtype=np.uint32) * 255 + white // 2) // white
    return levels.astype(np.uint8)


def warn_of_depth(bits: int) -> None:
    """Say that samples lose what 8 bits do not hold."""
    warnings.warn(f"{bits} bits a sample are reduced to 8", stacklevel=2)


def warn_of_darkness(values: NDArray[Any], white: int) -> None:
    """Say so where deep samples look like 8 bits that somebody has stored in them."""
    most = int(values.max(initial=0))
    if 0 < most <= 255 < white // 16:
        warnings.warn(
            f"the picture is nearly black: its brightest sample is {most}, and white is {white}; if its samples count "
            "in 8 bits, convert them to uint8",
            stacklevel=2,
        )


def _from_floats(values: NDArray[Any]) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise ImageError(
            "the picture has values that are not finite (NaN or infinity); replace them, with numpy.nan_to_num say"
        )
    least, most = float(values.min()), float(values.max())
    if least < -_UNDERSHOOT or most > 1 + _OVERSHOOT:
        hint = "divide by the white level"
        if least < -_UNDERSHOOT:
            hint = "add 1 and divide by 2 where they are in -1..1, or undo the normalisation that they went through"
        raise ImageError(f"expected floating-point values in 0..1, found {least:g} to {most:g}; {hint}")
    if least < -_HALF_A_LEVEL or most > 1 + _HALF_A_LEVEL:
        warnings.warn(f"floating-point values from {least:g} to {most:g} are clipped to 0..1", stacklevel=2)
    levels: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return levels
