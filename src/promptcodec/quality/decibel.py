"""Errors and similarities on the dB scale, on which rate-distortion curves are close to straight."""

from __future__ import annotations

import math

CEILING = 100.0
"""Of identical pictures, in dB: a finite stand-in for infinity, so that means and JSON stay usable."""


def decibel_of_error(squared_error: float) -> float:
    """Convert a mean squared error of samples from 0 to 255 to PSNR in dB, at most CEILING."""
    return min(10 * math.log10(255**2 / squared_error), CEILING) if squared_error else CEILING


def decibel_of_similarity(similarity: float) -> float:
    """Convert MS-SSIM to dB, -10 log10(1 - x), at most CEILING."""
    return min(-10 * math.log10(1 - similarity), CEILING) if similarity < 1 else CEILING
