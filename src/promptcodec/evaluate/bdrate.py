"""Comparison of rate-distortion curves: Bjøntegaard's differences, and quality at a given rate.

A curve is a sequence of (rate, quality) points in any order: rate in bits per pixel, quality in any unit that grows
with quality (PSNR in dB, accuracy or mAP in per cent, LPIPS with its sign turned).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptcodec.system.extras import import_extra

Curve = Sequence[tuple[float, float]]
Method = Literal["pchip", "cubic"]
"""How a curve runs between its points: piecewise cubic Hermite interpolation (JVET's tools), or the one polynomial of
third degree of Bjøntegaard's VCEG-M33 (2001), which need not pass through the points of a curve of more than four."""

SMALL_OVERLAP = 0.5
FEW_POINTS = 4


@dataclass(frozen=True)
class RateDifference:
    """BD-rate of a codec against an anchor.

    ``percent``: mean rate difference at equal quality, negative where the codec needs fewer bits; None where it
    is not defined. ``quality_range``: the common qualities. ``overlap``: its length over that of the shorter curve.
    """

    percent: float | None
    quality_range: tuple[float, float] | None
    overlap: float
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class QualityDifference:
    """BD-quality (BD-PSNR, BD-accuracy, ...) of a codec against an anchor.

    ``quality``: mean difference at equal rate in the metric's unit, positive where the codec is better; None where it
    is not defined. ``rate_range``: the common bits per pixel. ``overlap``: on the logarithm of the rate.
    """

    quality: float | None
    rate_range: tuple[float, float] | None
    overlap: float
    warnings: list[str] = field(default_factory=list)


def bd_rate(codec: Curve, anchor: Curve, method: Method = "pchip") -> RateDifference:
    """Return the BD-rate: the mean of log rate over quality, on the qualities that both curves reach.

    Points that cost more bits than another without better quality are left out, and reported.
    Raises UsageError where scipy is missing.
    """
    mean = _mean_difference(codec, anchor, 1, method)
    percent = None if mean.difference is None else 100 * math.expm1(mean.difference)
    return RateDifference(percent, mean.common, mean.overlap, mean.warnings)


def bd_quality(codec: Curve, anchor: Curve, method: Method = "pchip") -> QualityDifference:
    """Return the BD-quality: the mean of quality over log rate, on the rates that both curves reach.

    Otherwise as ``bd_rate``.
    """
    mean = _mean_difference(codec, anchor, 0, method)
    rates = None if mean.common is None else (math.exp(mean.common[0]), math.exp(mean.common[1]))
    return QualityDifference(mean.difference, rates, mean.overlap, mean.warnings)


def quality_at(curve: Curve, rate: float) -> float | None:
    """Return the quality at ``rate`` bits per pixel, by PCHIP over log rate; None outside the measured rates.

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


@dataclass(frozen=True)
class _Mean:
    difference: float | None
    common: tuple[float, float] | None
    overlap: float
    warnings: list[str]


def _mean_difference(codec: Curve, anchor: Curve, over: int, method: Method) -> _Mean:
    """Return the mean difference of one coordinate where both curves have the other.

    ``over`` 0 is log rate, 1 is quality.
    """
    warnings = []
    frontiers = []
    for name, curve in (("codec", codec), ("anchor", anchor)):
        points = _frontier(curve)
        if len(points) < len(curve):
            left_out = len(curve) - len(points)
            warnings.append(f"left out {left_out} of {len(curve)} points of the {name}: no better than cheaper ones")
        if len(points) < (needed := FEW_POINTS if method == "cubic" else 2):
            shortage = f"{len(points)} usable points, {method} needs {needed}"
            return _Mean(None, None, 0.0, [*warnings, f"the {name} has {shortage}"])
        if len(points) < FEW_POINTS:
            warnings.append(f"only {len(points)} usable points of the {name}")
        frontiers.append(points)

    low, high = max(p[0, over] for p in frontiers), min(p[-1, over] for p in frontiers)
    if low >= high:
        return _Mean(None, None, 0.0, [*warnings, f"the curves share no {('rate', 'quality')[over]}"])
    overlap = float((high - low) / min(p[-1, over] - p[0, over] for p in frontiers))
    if overlap < SMALL_OVERLAP:
        ends = "{:.2f} to {:.2f}".format(*((low, high) if over else (math.exp(low), math.exp(high))))
        unit = ("bits per pixel", "of quality")[over]
        warnings.append(f"the curves share only {ends} {unit}, {overlap:.0%} of the shorter one")
    areas = [_integral(points[:, over], points[:, 1 - over], method)(low, high) for points in frontiers]
    return _Mean((areas[0] - areas[1]) / float(high - low), (float(low), float(high)), overlap, warnings)


def _integral(x: NDArray[np.float64], y: NDArray[np.float64], method: Method) -> Callable[[float, float], float]:
    if method == "pchip":
        pchip = import_extra("scipy.interpolate", "scipy").PchipInterpolator(x, y)
        return lambda low, high: float(pchip.integrate(low, high))
    whole = np.polynomial.Polynomial.fit(x, y, 3).integ()  # fit scales x, which polyfit does not: better conditioned
    return lambda low, high: float(whole(high) - whole(low))


def _frontier(curve: Curve) -> NDArray[np.float64]:
    """Return (n, 2) log rate and quality, both strictly increasing."""
    points: list[tuple[float, float]] = []
    for rate, quality in sorted(curve, key=lambda point: (point[0], -point[1])):
        if not points or quality > points[-1][1]:
            points.append((math.log(rate), quality))
    return np.array(points, dtype=np.float64).reshape(-1, 2)
