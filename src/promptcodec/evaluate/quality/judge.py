"""The metrics of one run: which there are, and all that were asked for on a pair of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import ImageError, UsageError
from promptcodec.evaluate.quality.metrics import Pixels, decibel_of_error
from promptcodec.evaluate.quality.ycbcr import to_ycbcr

Mask = NDArray[np.uint8]

SCORES = {
    "psnr_yuv": "(6 Y + Cb + Cr) / 8 of the PSNRs of BT.601 full-range planes without subsampling, dB",
    "lpips_alex": "LPIPS 0.1 on AlexNet, lower is better",
    "lpips_vgg": "LPIPS 0.1 on VGG-16, lower is better",
    "dists": "DISTS at the picture's own size, lower is better",
    "psnr_inside": "PSNR (RGB) weighted with the mask, dB",
    "psnr_outside": "PSNR (RGB) weighted with what the mask leaves, dB",
}
"""Metrics beside PSNR and MS-SSIM, which every row has."""

LOWER_IS_BETTER = frozenset({"lpips_alex", "lpips_vgg", "dists"})
MASKED = frozenset({"psnr_inside", "psnr_outside"})


class Judge:
    """Computes the metrics in ``names`` (of SCORES).

    Raises UsageError for unknown ones, and where a metric's weights are not in the folder ``networks``: nothing is
    taken in their place.
    """

    def __init__(self, names: Sequence[str] = (), networks: Path | None = None) -> None:
        if unknown := [name for name in names if name not in SCORES]:
            raise UsageError(f"there is no metric {unknown[0]!r} (known: psnr, ms_ssim, {', '.join(SCORES)})")
        self.names = tuple(dict.fromkeys(names))
        self.networks = networks
        self._measures = {name: self._open(name) for name in self.names if name not in MASKED}

    def __call__(self, reference: Pixels, decoded: Pixels, mask: Mask | None = None) -> dict[str, float | None]:
        """Scores of two uint8 (H, W, 3) pictures; those within a mask (H, W) are None without one."""
        scores: dict[str, float | None] = {
            name: measure(reference, decoded) for name, measure in self._measures.items()
        }
        for name, inside in (("psnr_inside", True), ("psnr_outside", False)):
            if name in self.names:
                scores[name] = None if mask is None else weighted_psnr(reference, decoded, mask, inside)
        return scores

    def _open(self, name: str) -> Callable[[Pixels, Pixels], float]:
        if name == "psnr_yuv":
            return psnr_yuv
        from promptcodec.evaluate.quality.perceptual import Dists, Lpips

        openers: dict[str, Callable[[Path | None], Callable[[Pixels, Pixels], float]]] = {
            "lpips_alex": partial(Lpips, "alex"), "lpips_vgg": partial(Lpips, "vgg"), "dists": Dists,
        }  # fmt: skip
        return openers[name](self.networks)


def psnr_yuv(reference: Pixels, decoded: Pixels) -> float:
    """PSNR in dB, 6:1:1 over Y, Cb and Cr (BT.601, full range, 4:4:4, not rounded)."""
    errors = np.square(to_ycbcr(reference) - to_ycbcr(decoded)).mean(axis=(1, 2), dtype=np.float64)
    y, cb, cr = (decibel_of_error(float(error)) for error in errors)
    return (6 * y + cb + cr) / 8


def weighted_psnr(reference: Pixels, decoded: Pixels, mask: Mask, inside: bool = True) -> float | None:
    """PSNR in dB with every pixel's error weighted by the mask (H, W), 0 to 255, or by 255 less the mask.

    None where all weights are 0. Raises ImageError for a mask of another size.
    """
    if mask.shape != reference.shape[:2]:
        raise ImageError(f"the mask has shape {mask.shape}, its picture {reference.shape[:2]}")
    weight = mask.astype(np.float64) if inside else 255.0 - mask
    if not weight.any():
        return None
    error = np.square(reference.astype(np.float64) - decoded).mean(axis=2)
    return decibel_of_error(float((weight * error).sum() / weight.sum()))
