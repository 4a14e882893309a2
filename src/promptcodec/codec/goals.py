"""Targets of a search as goals: what a trial's file scores, and which scores count."""

from __future__ import annotations

import math
from collections.abc import Callable

from promptcodec.codec.search import QUALITY_TOLERANCE, SIZE_TOLERANCE, SSIMULACRA2_TOLERANCE, Goal, Target
from promptcodec.errors import UnfitError
from promptcodec.picture.picture import Picture
from promptcodec.quality.decibel import decibel_of_similarity
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.ssimulacra2 import SMALLEST_SIDE as SSIMULACRA2_SIDE
from promptcodec.quality.ssimulacra2 import ssimulacra2

# What a variable-rate model spans from quality 0 to 100 on most photos; a first guess only.
_SPAN = {"size": 3.2, "bpp": 3.2, "psnr": 13.0, "ms_ssim": 15.0, "ssimulacra2": 70.0}


def goal_of(
    target: Target, picture: Picture, decode: Callable[[bytes], Picture]
) -> tuple[Goal, Callable[[bytes], float]]:
    """Turn a target into a goal and the score of a file: the logarithm of its size, or its decoded picture's quality.

    Raises UnfitError for measures that pictures as small as this do not have, and the score UsageError without the
    package for it.
    """
    height, width = picture.rgb.shape[:2]
    span = _SPAN[target.kind]
    if target.limits_size:
        # Bits per pixel are printed as they are asked for, but the limit is one in bytes.
        limit = math.log(target.value if target.kind == "size" else target.value * height * width / 8)
        text = _size_text if target.kind == "size" else lambda s: f"{8 * math.exp(s) / height / width:.4f} bpp"
        goal = Goal(limit + math.log1p(-SIZE_TOLERANCE), limit, True, span, text)
        return goal, lambda data: math.log(len(data))

    goal, measure, smallest_side = _quality_goal(target)
    if min(height, width) < smallest_side:
        raise UnfitError(f"a picture of {width} x {height} pixels is too small for {target.name}; give another target")
    return goal, lambda data: measure(picture.rgb, decode(data).rgb)


def _quality_goal(target: Target) -> tuple[Goal, Callable[[Pixels, Pixels], float], int]:
    """Choose the goal, the measure on the goal's scale, and the least pixels a side that the measure takes."""
    span = _SPAN[target.kind]
    if target.kind == "psnr":
        goal = Goal(target.value, target.value + QUALITY_TOLERANCE, False, span, lambda s: f"{s:.2f} dB")
        return goal, psnr, 1
    if target.kind == "ssimulacra2":
        goal = Goal(target.value, target.value + SSIMULACRA2_TOLERANCE, False, span, lambda s: f"{s:.2f}")
        return goal, lambda reference, decoded: _known(ssimulacra2(reference, decoded)), SSIMULACRA2_SIDE

    from promptcodec.quality.ms_ssim import SMALLEST_SIDE, ms_ssim_of_pixels  # loads torch

    low = decibel_of_similarity(target.value)
    goal = Goal(low, low + QUALITY_TOLERANCE, False, span, lambda s: f"{1 - 10 ** (-s / 10):.4f}")
    return goal, lambda *pictures: decibel_of_similarity(_known(ms_ssim_of_pixels(*pictures))), SMALLEST_SIDE


def _known(value: float | None) -> float:
    """Narrow a score that pictures of sufficient size always have."""
    assert value is not None
    return value


def _size_text(score: float) -> str:
    return f"{round(math.exp(score)):,} bytes"
