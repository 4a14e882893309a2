"""What a results file says: mean curves, BD-rates, and picture by picture comparisons at equal rate."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import RateDifference, bd_rate, quality_at
from promptcodec.evaluate.codecs import OURS
from promptcodec.evaluate.metrics import decibel
from promptcodec.evaluate.results import Row

Metric = Literal["psnr", "ms_ssim"]
METRICS: tuple[Metric, ...] = ("psnr", "ms_ssim")
RATES = (0.2, 0.3, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class MeanPoint:
    """Means over the pictures measured at one setting; ``ms_ssim`` over those that have one, if any."""

    setting: float
    pictures: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float


@dataclass(frozen=True)
class BDRate:
    """BD-rate between mean curves, over the ``pictures`` that both codecs have at all their settings."""

    codec: str
    anchor: str
    metric: Metric
    pictures: int
    result: RateDifference


@dataclass(frozen=True)
class EqualRate:
    """Our codec and another at the same bits per pixel, picture by picture.

    ``comparable``: pictures whose curves both reach the rate; ``better``: those on which ours has the higher
    PSNR; ``psnr_difference``: mean over the comparable ones, dB, positive where ours is better; None without any.
    """

    codec: str
    anchor: str
    bpp: float
    comparable: int
    better: int
    psnr_difference: float | None


@dataclass(frozen=True)
class Summary:
    """``curves``: mean points by codec label, in order of rate."""

    pictures: int
    curves: dict[str, list[MeanPoint]]
    bd_rates: list[BDRate]
    equal_rates: list[EqualRate]
    warnings: list[str] = field(default_factory=list)


def summarise(rows: Iterable[Row], anchors: Sequence[str] | None = None) -> Summary:
    """Compares every codec with every anchor; by default the anchors are all codecs but ours.

    Raises UsageError without rows, for an anchor that was not measured, and where scipy is missing.
    """
    curves = by_curve(rows)
    if not curves:
        raise UsageError("there are no results to summarise")
    if anchors is None:
        anchors = [label for label in curves if not _is_ours(label)]
    if unknown := [label for label in anchors if label not in curves]:
        raise UsageError(f"no results for the anchor {unknown[0]!r} (measured: {', '.join(curves)})")
    pairs = [(codec, anchor) for anchor in anchors for codec in curves if codec != anchor]
    pictures = {row.sha256 for rows in curves.values() for row in rows}
    return Summary(
        pictures=len(pictures),
        curves={label: mean_points(rows) for label, rows in curves.items()},
        bd_rates=[_bd_rate(curves, *pair, metric) for pair in pairs for metric in METRICS],
        equal_rates=[_equal_rate(curves, *pair, bpp) for pair in pairs if _is_ours(pair[0]) for bpp in RATES],
        warnings=_incomplete(curves, len(pictures)),
    )


def by_curve(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows by the label of their codec: its name, with a hash where a name has several models or options."""
    curves: dict[str, list[Row]] = defaultdict(list)
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        curves[row.curve].append(row)
        names[row.codec].add(row.curve)
    labels = {}
    for curve, members in curves.items():
        name, options = members[0].codec, members[0].options
        version = options.get("fingerprint") or hashlib.sha256(curve.encode()).hexdigest()
        labels[name if len(names[name]) == 1 else f"{name}@{version[:8]}"] = members
    return labels


def mean_points(rows: Iterable[Row]) -> list[MeanPoint]:
    """Means by setting, in order of rate."""
    settings: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        settings[row.setting].append(row)
    points = []
    for setting, members in settings.items():
        similarities = [row.ms_ssim for row in members if row.ms_ssim is not None]
        points.append(
            MeanPoint(
                setting=setting,
                pictures=len(members),
                bpp=fmean(row.bpp for row in members),
                psnr=fmean(row.psnr for row in members),
                ms_ssim=fmean(similarities) if similarities else None,
                encode_s=fmean(row.encode_s for row in members),
                decode_s=fmean(row.decode_s for row in members),
            )
        )
    return sorted(points, key=lambda point: point.bpp)


def quality_curve(points: Iterable[MeanPoint], metric: Metric) -> list[tuple[float, float]]:
    """(bits per pixel, dB) for PSNR, or MS-SSIM on its dB scale; points without the metric are left out."""
    if metric == "psnr":
        return [(point.bpp, point.psnr) for point in points]
    return [(point.bpp, decibel(point.ms_ssim)) for point in points if point.ms_ssim is not None]


def _is_ours(label: str) -> bool:
    return label.partition(":")[0] == OURS


def _complete(rows: Sequence[Row], metric: Metric) -> set[str]:
    """Pictures measured at every setting of the curve."""
    settings = {row.setting for row in rows}
    measured: dict[str, set[float]] = defaultdict(set)
    for row in rows:
        if getattr(row, metric) is not None:
            measured[row.sha256].add(row.setting)
    return {picture for picture, present in measured.items() if present == settings}


def _bd_rate(curves: dict[str, list[Row]], codec: str, anchor: str, metric: Metric) -> BDRate:
    pair = curves[codec], curves[anchor]
    common = _complete(pair[0], metric) & _complete(pair[1], metric)
    means = (mean_points(row for row in rows if row.sha256 in common) for rows in pair)
    result = bd_rate(*(quality_curve(points, metric) for points in means))
    return BDRate(codec, anchor, metric, len(common), result)


def _equal_rate(curves: dict[str, list[Row]], codec: str, anchor: str, bpp: float) -> EqualRate:
    ours, theirs = (_psnr_at(curves[label], bpp) for label in (codec, anchor))
    differences = [ours[picture] - theirs[picture] for picture in ours.keys() & theirs.keys()]
    better = sum(difference > 0 for difference in differences)
    return EqualRate(codec, anchor, bpp, len(differences), better, fmean(differences) if differences else None)


def _psnr_at(rows: Iterable[Row], bpp: float) -> dict[str, float]:
    """PSNR at the rate, by picture, for the pictures whose curve reaches it."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        curves[row.sha256].append((row.bpp, row.psnr))
    values = {picture: quality_at(curve, bpp) for picture, curve in curves.items()}
    return {picture: value for picture, value in values.items() if value is not None}


def _incomplete(curves: dict[str, list[Row]], pictures: int) -> list[str]:
    return [
        f"{label}: only {complete} of {pictures} pictures have all its settings: its means mix pictures"
        for label, rows in curves.items()
        if (complete := len(_complete(rows, "psnr"))) < pictures
    ]
