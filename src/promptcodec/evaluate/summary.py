"""What a results file says: mean curves, BD-rates, and picture by picture comparisons at equal rate."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Protocol, TypeVar

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import Method, QualityDifference, RateDifference, bd_quality, bd_rate, quality_at
from promptcodec.evaluate.codecs.evaluated_codec import OURS
from promptcodec.evaluate.data.stored import StoredCurve, StoredPoint
from promptcodec.evaluate.metrics import IN_EVERY_ROW, METRICS
from promptcodec.evaluate.results import Row
from promptcodec.quality.decibel import decibel_of_similarity

RATES = (0.2, 0.3, 0.5, 0.75, 1.0)


class OfCurve(Protocol):
    """A row of any results: a point of a codec's curve."""

    @property
    def codec(self) -> str: ...

    @property
    def options(self) -> dict[str, Any]: ...

    @property
    def curve(self) -> str: ...


R = TypeVar("R", bound=OfCurve)


@dataclass(frozen=True)
class MeanPoint:
    """Means over the pictures measured at one setting; ``ms_ssim`` and each of ``scores`` over those that have it."""

    setting: float
    pictures: int
    bpp: float
    psnr: float
    ms_ssim: float | None
    encode_s: float
    decode_s: float
    scores: dict[str, float] = field(default_factory=dict)

    def metric(self, name: str) -> float | None:
        """Return a mean by its metric's name; None where it was not measured."""
        if name in IN_EVERY_ROW:
            value: float | None = getattr(self, name)
            return value
        return self.scores.get(name)

    def stored(self) -> StoredPoint:
        """Return the part of it that a stored curve has."""
        return StoredPoint(self.bpp, self.psnr, self.ms_ssim, self.encode_s, self.decode_s)


@dataclass(frozen=True)
class BDRate:
    """BD-rate and BD-quality between mean curves, over the ``pictures`` that both codecs have at all their settings.

    ``pictures`` is None where the anchor is a stored curve: then all pictures of the codec count.
    """

    codec: str
    anchor: str
    metric: str
    pictures: int | None
    result: RateDifference
    quality: QualityDifference


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
    """``curves``: mean points by codec label, in order of rate; ``parameters``: of what each codec needs, all together,
    where it tells."""

    pictures: int
    curves: dict[str, list[MeanPoint]]
    bd_rates: list[BDRate]
    equal_rates: list[EqualRate]
    warnings: list[str] = field(default_factory=list)
    parameters: dict[str, int] = field(default_factory=dict)


def summarise(
    rows: Iterable[Row],
    anchors: Sequence[str] | None = None,
    stored: Sequence[StoredCurve] = (),
    method: Method = "pchip",
) -> Summary:
    """Compare every codec with every anchor; by default the anchors are all codecs but ours. ``stored`` ones are
    further anchors for ours, for the metrics that they have.

    Raises UsageError without rows, for an anchor that was not measured, and where scipy is missing.
    """
    curves = by_curve(rows)
    if not curves:
        raise UsageError("there are no results to summarise")
    if anchors is None:
        anchors = [label for label in curves if not is_ours(label)]
    if unknown := [label for label in anchors if label not in curves]:
        raise UsageError(f"no results for the anchor {unknown[0]!r} (measured: {', '.join(curves)})")
    pairs = [(codec, anchor) for anchor in anchors for codec in curves if codec != anchor]
    pictures = {row.sha256 for rows in curves.values() for row in rows}
    return Summary(
        pictures=len(pictures),
        curves={label: mean_points(rows) for label, rows in curves.items()},
        bd_rates=[
            *(_bd_rate(curves, *pair, metric, method) for pair in pairs for metric in metrics_of(curves)),
            *(
                _against_stored(label, curves[label], curve, metric, method)
                for curve in stored
                for label in curves
                if is_ours(label)
                for metric in IN_EVERY_ROW
                if any(point.metric(metric) is not None for point in curve.points)
            ),
        ],
        equal_rates=[_equal_rate(curves, *pair, bpp) for pair in pairs if is_ours(pair[0]) for bpp in RATES],
        warnings=_incomplete(curves, len(pictures)),
        parameters={label: sum(rows[0].parameters.values()) for label, rows in curves.items() if rows[0].parameters},
    )


def metrics_of(curves: dict[str, list[Row]]) -> list[str]:
    """Return PSNR, MS-SSIM, and what else any of the rows has."""
    every = [row for rows in curves.values() for row in rows]
    return [name for name in METRICS if name in IN_EVERY_ROW or any(row.metric(name) is not None for row in every)]


def by_curve(rows: Iterable[R]) -> dict[str, list[R]]:
    """Return the rows by the label of their codec: its name, with a hash where a name has several models or options."""
    curves: dict[str, list[R]] = defaultdict(list)
    for row in rows:
        curves[row.curve].append(row)
    names: dict[str, list[R]] = defaultdict(list)
    for members in curves.values():
        names[members[0].codec].append(members[0])
    return {_label(members[0], names[members[0].codec]): members for members in curves.values()}


def _label(row: OfCurve, namesakes: Sequence[OfCurve]) -> str:
    """Name a curve; of several with one name each with what tells it from the others: the model, if that does."""
    if len(namesakes) == 1:
        return row.codec
    model, *others = (str(r.options.get("fingerprint", ""))[:8] for r in (row, *namesakes))
    version = model if model and others.count(model) == 1 else hashlib.sha256(row.curve.encode()).hexdigest()[:8]
    return f"{row.codec}@{version}"


def mean_points(rows: Iterable[Row]) -> list[MeanPoint]:
    """Return the means by setting, in order of rate."""
    settings: dict[float, list[Row]] = defaultdict(list)
    for row in rows:
        settings[row.setting].append(row)
    return sorted((_mean_point(setting, members) for setting, members in settings.items()), key=lambda p: p.bpp)


def _mean_point(setting: float, rows: Sequence[Row]) -> MeanPoint:
    means: dict[str, float] = {}
    for name in METRICS:
        values = [value for row in rows if (value := row.metric(name)) is not None]
        if values:
            means[name] = fmean(values)
    return MeanPoint(
        setting=setting,
        pictures=len(rows),
        bpp=fmean(row.bpp for row in rows),
        psnr=means.pop("psnr"),
        ms_ssim=means.pop("ms_ssim", None),
        encode_s=fmean(row.encode_s for row in rows),
        decode_s=fmean(row.decode_s for row in rows),
        scores=means,
    )


def quality_curve(points: Iterable[MeanPoint | StoredPoint], metric: str) -> list[tuple[float, float]]:
    """Return (bits per pixel, quality) that grows as pictures get better: MS-SSIM on its dB scale, LPIPS and DISTS with
    their sign turned; points without the metric are left out.
    """
    values = ((point.bpp, point.metric(metric)) for point in points)
    return [(bpp, as_quality(metric, value)) for bpp, value in values if value is not None]


def as_quality(metric: str, value: float) -> float:
    """Return a metric's value on a scale that grows with quality."""
    if metric == "ms_ssim":
        return decibel_of_similarity(value)
    return -value if METRICS[metric].lower_is_better else value


def is_ours(label: str) -> bool:
    """Return whether a curve's label is one of ours."""
    return label.partition(":")[0] == OURS


def _complete(rows: Sequence[Row], metric: str) -> list[Row]:
    """Return the rows of the settings at which the metric was measured, of the pictures that have all of those."""
    measured: dict[str, set[float]] = defaultdict(set)
    for row in rows:
        if row.metric(metric) is not None:
            measured[row.sha256].add(row.setting)
    settings = set().union(*measured.values())
    whole = {picture for picture, present in measured.items() if present == settings}
    return [row for row in rows if row.sha256 in whole and row.setting in settings]


def _bd_rate(curves: dict[str, list[Row]], codec: str, anchor: str, metric: str, method: Method) -> BDRate:
    pair = [_complete(curves[label], metric) for label in (codec, anchor)]
    common = {row.sha256 for row in pair[0]} & {row.sha256 for row in pair[1]}
    means = (mean_points(row for row in rows if row.sha256 in common) for rows in pair)
    ours, theirs = (quality_curve(points, metric) for points in means)
    differences = bd_rate(ours, theirs, method), bd_quality(ours, theirs, method)
    return BDRate(codec, anchor, metric, len(common), *differences)


def _against_stored(label: str, rows: Sequence[Row], curve: StoredCurve, metric: str, method: Method) -> BDRate:
    ours, theirs = quality_curve(mean_points(_complete(rows, metric)), metric), quality_curve(curve.points, metric)
    return BDRate(label, curve.name, metric, None, bd_rate(ours, theirs, method), bd_quality(ours, theirs, method))


def _equal_rate(curves: dict[str, list[Row]], codec: str, anchor: str, bpp: float) -> EqualRate:
    ours, theirs = (_psnr_at(curves[label], bpp) for label in (codec, anchor))
    differences = [ours[picture] - theirs[picture] for picture in ours.keys() & theirs.keys()]
    better = sum(difference > 0 for difference in differences)
    return EqualRate(codec, anchor, bpp, len(differences), better, fmean(differences) if differences else None)


def _psnr_at(rows: Iterable[Row], bpp: float) -> dict[str, float]:
    """Return the PSNR at the rate, by picture, for the pictures whose curve reaches it."""
    curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        curves[row.sha256].append((row.bpp, row.psnr))
    values = {picture: quality_at(curve, bpp) for picture, curve in curves.items()}
    return {picture: value for picture, value in values.items() if value is not None}


def _incomplete(curves: dict[str, list[Row]], pictures: int) -> list[str]:
    return [
        f"{label}: only {complete} of {pictures} pictures have all its settings: its means mix pictures"
        for label, rows in curves.items()
        if (complete := len({row.sha256 for row in _complete(rows, "psnr")})) < pictures
    ]
