"""Overfitting, told by validation: what a run has gained on its training pictures and not on others.

Sets differ in difficulty, so what their curves cost at a time says nothing about overfitting. What tells it is how
their costs have changed since the first validation: as long as a run learns what holds for all pictures, both change
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.evaluate.data.rd_log import TRAIN, RDRow


@dataclass(frozen=True)
class Gap:
    """After ``samples``, the change in rate at equal PSNR since the first validation, in per cent (BD-rate), on a
    validation set and on the sample of the training pictures; None where curves share no PSNR, or are of one rate.
    """

    samples: int
    validation: float | None
    train: float | None

    @property
    def points(self) -> float | None:
        """By how many points validation lags behind: growing from 0 on, it is overfitting."""
        return None if self.validation is None or self.train is None else self.validation - self.train


def gaps(rows: Sequence[RDRow], dataset: str) -> list[Gap]:
    """Return the gap at each validation that measured both ``dataset`` and the training sample, by samples.

    Raises UsageError where scipy is missing.
    """
    curves = [{row.samples: row.points for row in rows if row.dataset == name} for name in (dataset, TRAIN)]
    common = sorted(curves[0].keys() & curves[1].keys())
    changes = ([bd_rate(curve[samples], curve[common[0]]).percent for samples in common] for curve in curves)
    return [Gap(samples, *pair) for samples, pair in zip(common, zip(*changes, strict=True), strict=True)]


def phrase(gap: Gap, dataset: str) -> str:
    """Describe the gap in a phrase."""
    if gap.points is None:
        return "no rates that compare with the first validation's"
    return (
        f"rate at equal PSNR since the first validation: {dataset} {gap.validation:+.2f} %, "
        f"{TRAIN} {gap.train:+.2f} %, gap {gap.points:+.2f} points"
    )
