"""Peak signal-to-noise ratio of two 8-bit RGB pictures: over RGB, over YCbCr, and weighted with a mask."""

from __future__ import annotations

import numpy as np

from promptcodec.errors import ImageError
from promptcodec.quality.decibel import decibel_of_error
from promptcodec.quality.pixels import Mask, Pixels, check_alike
from promptcodec.quality.ycbcr import to_ycbcr

_ROWS = 256  # of a picture, whose errors are in memory at once


def psnr(reference: Pixels, decoded: Pixels) -> float:
    """Compute PSNR in dB from the mean squared error over all samples of two uint8 (H, W, 3) arrays.

    At most ``decibel.CEILING``. Raises ImageError where the arrays do not match.
    """
    check_alike(reference, decoded)
    total = 0
    for top in range(0, len(reference), _ROWS):  # a large picture at once would take six times its own memory
        part = slice(top, top + _ROWS)
        total += int(np.square(reference[part].astype(np.int32) - decoded[part]).sum(dtype=np.int64))
    return decibel_of_error(total / reference.size)


def psnr_yuv(reference: Pixels, decoded: Pixels) -> float:
    """Compute PSNR in dB, 6:1:1 over Y, Cb and Cr (BT.601, full range, 4:4:4, not rounded)."""
    errors = np.square(to_ycbcr(reference) - to_ycbcr(decoded)).mean(axis=(1, 2), dtype=np.float64)
    y, cb, cr = (decibel_of_error(float(error)) for error in errors)
    return (6 * y + cb + cr) / 8


def weighted_psnr(
    reference: Pixels, decoded: Pixels, mask: Mask, weights: tuple[float, float] = (1.0, 0.0)
) -> float | None:
    """Compute PSNR in dB with every pixel's error weighted: by the first of ``weights``, neither of which is negative,
    where the mask (H, W) is 255, by the second where it is 0, in proportion between.

    At most ``decibel.CEILING``; None where all weights are 0. Raises ImageError for a mask of another size.
    """
    if mask.shape != reference.shape[:2]:
        raise ImageError(f"the mask has shape {mask.shape}, its picture {reference.shape[:2]}")
    inside, outside = weights
    weight = inside * mask.astype(np.float64) + outside * (255.0 - mask)
    if not weight.any():
        return None
    error = np.square(reference.astype(np.float64) - decoded).mean(axis=2)
    return decibel_of_error(float((weight * error).sum() / weight.sum()))
