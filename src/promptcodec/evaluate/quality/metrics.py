"""Distortion between two 8-bit RGB pictures."""

from __future__ import annotations

import math
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import ImageError
from promptcodec.system.extras import import_extra

if TYPE_CHECKING:
    from torch import Tensor

PSNR_CEILING = 100.0
"""PSNR of identical pictures in dB: a finite stand-in for infinity, so that means and JSON stay usable."""

MS_SSIM_SMALLEST_SIDE = 161
"""Five scales of an 11-tap window need 160 pixels and one more."""

_ROWS = 256  # of a picture, whose errors are in memory at once

Pixels = NDArray[np.uint8]


def psnr(reference: Pixels, decoded: Pixels) -> float:
    """PSNR in dB from the mean squared error over all samples of two uint8 (H, W, 3) arrays.

    At most PSNR_CEILING. Raises ImageError where the arrays do not match.
    """
    _check(reference, decoded)
    total = 0
    for top in range(0, len(reference), _ROWS):  # a large picture at once would take six times its own memory
        part = slice(top, top + _ROWS)
        total += int(np.square(reference[part].astype(np.int32) - decoded[part]).sum(dtype=np.int64))
    return decibel_of_error(total / reference.size)


def decibel_of_error(squared_error: float) -> float:
    """PSNR in dB of a mean squared error of samples from 0 to 255, at most PSNR_CEILING."""
    return min(10 * math.log10(255**2 / squared_error), PSNR_CEILING) if squared_error else PSNR_CEILING


def ms_ssim(reference: Pixels, decoded: Pixels) -> float | None:
    """MS-SSIM (0 to 1) of two uint8 (H, W, 3) arrays: mean over R, G and B, data range 255.

    None for pictures with a side below MS_SSIM_SMALLEST_SIDE. Raises ImageError where the arrays do not match and
    UsageError where pytorch-msssim is missing.
    """
    _check(reference, decoded)
    if min(reference.shape[:2]) < MS_SSIM_SMALLEST_SIDE:
        return None
    library = import_extra("pytorch_msssim", "pytorch-msssim")
    import torch

    with torch.inference_mode():  # channel by channel, for a third of the memory
        return fmean(
            float(library.ms_ssim(*(_plane(pixels[:, :, channel]) for pixels in (reference, decoded)), data_range=255))
            for channel in range(3)
        )


def _plane(channel: Pixels) -> Tensor:
    import torch

    return torch.from_numpy(channel.astype(np.float32))[None, None]


def decibel(similarity: float) -> float:
    """MS-SSIM on the dB scale, -10 log10(1 - x), at most PSNR_CEILING."""
    return min(-10 * math.log10(1 - similarity), PSNR_CEILING) if similarity < 1 else PSNR_CEILING


def _check(reference: Pixels, decoded: Pixels) -> None:
    for pixels in (reference, decoded):
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ImageError(f"expected 8-bit RGB pixels (height, width, 3), found {pixels.dtype} {pixels.shape}")
    if reference.shape != decoded.shape:
        raise ImageError(f"the decoded picture has shape {decoded.shape}, the original {reference.shape}")
