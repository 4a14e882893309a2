"""Computes the metrics that a run was told to compute on each pair of pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluate.metrics import METRICS, OPTIONAL
from promptcodec.quality.pixels import Mask, Pixels
from promptcodec.quality.psnr import psnr_yuv, weighted_psnr
from promptcodec.quality.ssimulacra2 import ssimulacra2
from promptcodec.system.extras import import_extra

Measure = Callable[[Pixels, Pixels], float | None]

# What errors count inside a mask and outside; the last as Kao et al. and paper 003 weigh them.
_MASK_WEIGHTS = {"psnr_inside": (1.0, 0.0), "psnr_outside": (0.0, 1.0), "psnr_weighted": (0.8, 0.2)}


class Judge:
    """Computes the metrics in ``names`` (of ``metrics.OPTIONAL``).

    Raises UsageError for unknown ones, and where a metric's package is missing or its weights are not in the folder
    ``networks``: nothing is taken in their place.
    """

    def __init__(self, names: Sequence[str] = (), networks: Path | None = None) -> None:
        if unknown := [name for name in names if name not in OPTIONAL]:
            raise UsageError(f"there is no metric {unknown[0]!r} (known: {', '.join(METRICS)})")
        self.names = tuple(dict.fromkeys(names))
        self.networks = networks
        self._measures = {name: self._open(name) for name in self.names if not OPTIONAL[name].masked}

    def __call__(self, reference: Pixels, decoded: Pixels, mask: Mask | None = None) -> dict[str, float | None]:
        """Compute the scores of two uint8 (H, W, 3) pictures; those within a mask (H, W) are None without one."""
        scores = {name: measure(reference, decoded) for name, measure in self._measures.items()}
        for name, weights in _MASK_WEIGHTS.items():
            if name in self.names:
                scores[name] = None if mask is None else weighted_psnr(reference, decoded, mask, weights)
        return scores

    def _open(self, name: str) -> Measure:
        if name == "psnr_yuv":
            return psnr_yuv
        if name == "ssimulacra2":
            import_extra("ssimulacra2", "ssimulacra2")  # not missing after minutes of encoding
            return ssimulacra2
        from promptcodec.quality.dists import Dists
        from promptcodec.quality.lpips import Lpips

        openers: dict[str, Callable[[Path | None], Measure]] = {
            "lpips_alex": partial(Lpips, "alex"), "lpips_vgg": partial(Lpips, "vgg"), "dists": Dists,
        }  # fmt: skip
        return openers[name](self.networks)
