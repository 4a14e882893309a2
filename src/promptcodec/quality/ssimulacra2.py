"""SSIMULACRA2 (Sneyers, Cloudinary 2023), by the package ssimulacra2: structure and edges in XYB at six scales."""

from __future__ import annotations

import io

from PIL import Image

from promptcodec.quality.pixels import Pixels, check_alike
from promptcodec.system.extras import import_extra

SMALLEST_SIDE = 8  # pixels; the package calls whatever is smaller perfect


def ssimulacra2(reference: Pixels, decoded: Pixels) -> float | None:
    """Compute SSIMULACRA2 of two uint8 (H, W, 3) arrays: 100 for equal pictures, 90 hardly visible, 0 and below bad.

    None for pictures with a side below SMALLEST_SIDE. Raises ImageError where the arrays do not match, and UsageError
    where the package is missing.
    """
    check_alike(reference, decoded)
    library = import_extra("ssimulacra2", "ssimulacra2")
    if min(reference.shape[:2]) < SMALLEST_SIDE:
        return None
    return float(library.compute_ssimulacra2(_as_file(reference), _as_file(decoded)))


def _as_file(pixels: Pixels) -> io.BytesIO:
    """Write a picture as PPM into memory: the package reads files."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PPM")
    file.seek(0)
    return file
