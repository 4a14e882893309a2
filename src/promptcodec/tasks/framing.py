"""Brings pictures to the size that a network looks at."""

from __future__ import annotations

import numpy as np
from PIL import Image

from promptcodec.quality.pixels import Pixels


def centre_crop(pixels: Pixels, shorter: int, side: int, resampling: Image.Resampling) -> Pixels:
    """Scale the shorter side of (H, W, 3) to ``shorter``, and cut a square of ``side`` out of the middle."""
    image = Image.fromarray(pixels)
    scale = shorter / min(image.size)
    width, height = (max(shorter, round(length * scale)) for length in image.size)
    scaled = image.resize((width, height), resampling)
    left, top = (width - side) // 2, (height - side) // 2
    return np.asarray(scaled.crop((left, top, left + side, top + side)))


def fit_longer(pixels: Pixels, side: int, resampling: Image.Resampling) -> Pixels:
    """Scale the longer side of (H, W, 3) to ``side``, keeping the proportions."""
    image = Image.fromarray(pixels)
    scale = side / max(image.size)
    width, height = (max(1, round(length * scale)) for length in image.size)
    return np.asarray(image.resize((width, height), resampling))


def fit_shorter(pixels: Pixels, shorter: int, longest: int, resampling: Image.Resampling) -> Pixels:
    """Scale the shorter side of (H, W, 3) to ``shorter``, or less where the longer one would exceed ``longest``."""
    image = Image.fromarray(pixels)
    scale = min(shorter / min(image.size), longest / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    return np.asarray(image.resize((width, height), resampling))
