"""The three measures that people compare pictures by, of two pictures at once."""

from __future__ import annotations

from dataclasses import dataclass

from promptcodec.quality.ms_ssim import ms_ssim_of_pixels
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.ssimulacra2 import ssimulacra2


@dataclass(frozen=True)
class Measures:
    """``psnr`` in dB over RGB; ``ms_ssim`` from 0 to 1 and ``ssimulacra2``, 100 at most, None for pictures that are too
    small for them."""

    psnr: float
    ms_ssim: float | None
    ssimulacra2: float | None


def measures(reference: Pixels, decoded: Pixels) -> Measures:
    """Compute PSNR, MS-SSIM and SSIMULACRA2 of two uint8 (H, W, 3) arrays.

    Raises ImageError where they do not match, and UsageError where the package for SSIMULACRA2 is missing.
    """
    return Measures(psnr(reference, decoded), ms_ssim_of_pixels(reference, decoded), ssimulacra2(reference, decoded))
