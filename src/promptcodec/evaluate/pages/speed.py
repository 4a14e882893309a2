"""Seconds and memory of codecs, from rows that were measured for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.evaluate.data.stored import StoredCurve
from promptcodec.evaluate.pages.figures import Speed
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import by_curve, mean_points, quality_curve


@dataclass(frozen=True)
class Times:
    """Medians over the rows: seconds a picture, and its bits per pixel; ``peak_mib``: of this process, the most."""

    pictures: int
    bpp: float
    encode_s: float
    decode_s: float
    peak_mib: float | None


def times(rows: Iterable[Row]) -> dict[str, Times]:
    """Return the times by the label of the codec."""
    times_by_label = {}
    for label, members in by_curve(rows).items():
        peaks = [row.peak_mib for row in members if row.peak_mib is not None]
        times_by_label[label] = Times(
            len({row.sha256 for row in members}),
            median(row.bpp for row in members),
            median(row.encode_s for row in members),
            median(row.decode_s for row in members),
            max(peaks) if peaks else None,
        )
    return times_by_label


def speeds(rates: Iterable[Row], timed: Iterable[Row], anchor: StoredCurve) -> dict[str, Speed]:
    """Return BD-rate (PSNR) against a stored curve, and median decoding seconds, of each codec that has both.

    The stored curve is a mean over a whole set, so codecs that were measured on fewer pictures than others are left
    out.
    """
    seconds, curves = times(timed), by_curve(rates)
    pictures = {label: len({row.sha256 for row in members}) for label, members in curves.items()}
    theirs = quality_curve(anchor.points, "psnr")
    points = {}
    for label, members in curves.items():
        if pictures[label] < max(pictures.values()):
            continue
        percent = bd_rate(quality_curve(mean_points(members), "psnr"), theirs).percent
        if percent is not None and label in seconds:
            points[label] = Speed(percent, seconds[label].decode_s)
    return points
