"""Targets of a search as goals: what a trial's file scores, and which scores count."""

from __future__ import annotations

import math
from collections.abc import Callable

from promptcodec.codec.search import QUALITY_TOLERANCE, SIZE_TOLERANCE, Goal, Target
from promptcodec.errors import UnfitError
from promptcodec.picture.picture import Picture

# What a variable-rate model spans from quality 0 to 100 on most photos; a first guess only.
_SPAN = {"size": 3.2, "bpp": 3.2, "psnr": 13.0, "ms_ssim": 15.0}


def goal_of(
    target: Target, picture: Picture, decode: Callable[[bytes], Picture]
) -> tuple[Goal, Callable[[bytes], float]]:
    """The goal, and the score of a file: the logarithm of its size, or its quality in dB once it is decoded.

    Raises UnfitError for MS-SSIM of pictures too small to have one; the score, UsageError without the package for it.
    """
    height, width = picture.rgb.shape[:2]
    if target.limits_size:
        # Bits per pixel are printed as they are asked for, but the limit is one in bytes.
        limit = math.log(target.value if target.kind == "size" else target.value * height * width / 8)
        text = _size_text if target.kind == "size" else lambda s: f"{8 * math.exp(s) / height / width:.4f} bpp"
        goal = Goal(limit + math.log1p(-SIZE_TOLERANCE), limit, True, _SPAN[target.kind], text)
        return goal, lambda data: math.log(len(data))

    from promptcodec.evaluate.quality.metrics import MS_SSIM_SMALLEST_SIDE, decibel, ms_ssim, psnr

    if target.kind == "psnr":
        goal = Goal(target.value, target.value + QUALITY_TOLERANCE, False, _SPAN["psnr"], lambda s: f"{s:.2f} dB")
        return goal, lambda data: psnr(picture.rgb, decode(data).rgb)

    if min(height, width) < MS_SSIM_SMALLEST_SIDE:
        raise UnfitError(f"a picture of {width} x {height} pixels is too small for MS-SSIM; give another target")

    def similarity(data: bytes) -> float:
        value = ms_ssim(picture.rgb, decode(data).rgb)
        assert value is not None
        return decibel(value)

    low = decibel(target.value)
    goal = Goal(low, low + QUALITY_TOLERANCE, False, _SPAN["ms_ssim"], lambda s: f"{1 - 10 ** (-s / 10):.4f}")
    return goal, similarity


def _size_text(score: float) -> str:
    return f"{round(math.exp(score)):,} bytes"
