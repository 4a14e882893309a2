"""Comparison of rate-distortion curves: Bjøntegaard's rate difference, and quality at a given rate.

A curve is a sequence of (rate, quality) points: rate in bits per pixel, quality in dB, in any order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptcodec.evaluate.extras import import_extra

Curve = Sequence[tuple[float, float]]

SMALL_OVERLAP = 0.5
FEW_POINTS = 4


@dataclass(frozen=True)
class RateDifference:
    """BD-rate of a codec against an anchor.

    ``percent``: mean rate difference at equal quality, negative where the codec needs fewer bits; None where it
    is not defined. ``quality_range``: the common qualities (dB). ``overlap``: its length over that of the shorter
    curve.
    """

    percent: float | None
    quality_range: tuple[float, float] | None
    overlap: float
    warnings: list[str] = field(default_factory=list)


def bd_rate(codec: Curve, anchor: Curve) -> RateDifference:
    """BD-rate from PCHIP interpolation of log rate over quality, on the qualities that both curves reach.

    Points that cost more bits than another without better quality are left out, and reported.
    Raises UsageError where scipy is missing.
    """
    warnings = []
    frontiers = []
    for name, curve in (("codec", codec), ("anchor", anchor)):
        points = _frontier(curve)
        if len(points) < len(curve):
            left_out = len(curve) - len(points)
            warnings.append(f"{left_out} points of the {name} are no better than cheaper ones: left out")
        if len(points) < 2:
            return RateDifference(None, None, 0.0, [*warnings, f"the {name} has less than two usable points"])
        if len(points) < FEW_POINTS:
            warnings.append(f"only {len(points)} usable points of the {name}")
        frontiers.append(points)

    ranges = [(points[0, 1], points[-1, 1]) for points in frontiers]
    low, high = max(r[0] for r in ranges), min(r[1] for r in ranges)
    if low >= high:
        return RateDifference(None, None, 0.0, [*warnings, "the curves share no quality"])
    overlap = (high - low) / min(r[1] - r[0] for r in ranges)
    if overlap < SMALL_OVERLAP:
        warnings.append(f"the curves share only {low:.2f} to {high:.2f} dB, {overlap:.0%} of the shorter one")

    pchip = import_extra("scipy.interpolate", "scipy").PchipInterpolator
    areas = [float(pchip(points[:, 1], points[:, 0]).integrate(low, high)) for points in frontiers]
    percent = 100 * math.expm1((areas[0] - areas[1]) / (high - low))
    return RateDifference(percent, (float(low), float(high)), float(overlap), warnings)


def quality_at(curve: Curve, rate: float) -> float | None:
    """Quality (dB) at ``rate`` bits per pixel, by PCHIP over log rate; None outside the measured rates.

    Raises UsageError where scipy is missing.
    """
    best: dict[float, float] = {}
    for bits, quality in curve:  # two settings can give files of the same size
        best[bits] = max(quality, best.get(bits, quality))
    rates = sorted(best)
    if len(rates) < 2 or not rates[0] <= rate <= rates[-1]:
        return None
    pchip = import_extra("scipy.interpolate", "scipy").PchipInterpolator
    return float(pchip(np.log(rates), [best[bits] for bits in rates])(math.log(rate)))


def _frontier(curve: Curve) -> NDArray[np.float64]:
    """(n, 2) log rate and quality, both strictly increasing."""
    points: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not points or quality > points[-1][1]:
            points.append((math.log(rate), quality))
    return np.array(points, dtype=np.float64).reshape(-1, 2)
