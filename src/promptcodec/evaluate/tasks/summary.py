"""What rows of ``eval --task`` say: curves of rate and accuracy with intervals, and paired comparisons of codecs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import bd_quality, bd_rate
from promptcodec.evaluate.summary import by_curve, is_ours
from promptcodec.evaluate.tasks.rows import ORIGINAL, CodedSize, TaskRow
from promptcodec.evaluate.tasks.scores import SCORES, Score

Floats = NDArray[np.float64]

SAMPLES = 200
_SEED = 20_231_004
_DEFINED = 0.9  # of the samples, for a spread of them to mean something


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error and the 95 % interval, by a bootstrap over pictures; ``error`` and the ends are None
    where too few of the samples have a value.
    """

    value: float
    error: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class TaskPoint:
    """One codec at one setting: mean bits per coded pixel, mean bytes a picture, the score in per cent, and how far it
    lies from that of the originals, in points, picture by picture.
    """

    setting: float
    bpp: float
    bytes: float
    score: Estimate
    difference: Estimate


@dataclass(frozen=True)
class TaskComparison:
    """Two codecs on the same pictures: BD-rate in per cent at equal score, and BD-accuracy in points at equal rate;
    None where their curves share none.
    """

    codec: str
    anchor: str
    rate: Estimate | None
    accuracy: Estimate | None
    warnings: list[str]


@dataclass(frozen=True)
class TaskTable:
    """All codecs by one score of one recogniser, on the ``pictures`` that all of them have.

    ``original``: the score of the pictures themselves.
    """

    recogniser: str
    weights: str
    coded_size: CodedSize
    score: str
    title: str
    pictures: int
    original: Estimate
    curves: dict[str, list[TaskPoint]]
    comparisons: list[TaskComparison]


@dataclass(frozen=True)
class TaskSummary:
    """``warnings``: what keeps pictures or codecs out of the tables."""

    tables: list[TaskTable]
    warnings: list[str]


def summarise_task(rows: Iterable[TaskRow], anchors: Sequence[str] | None = None) -> TaskSummary:
    """Score every codec for every recogniser, and compare codecs with ``anchors``; by default ours with all others, and
    the others with the first of them.

    Raises UsageError without rows, for an anchor that was not measured, and where a package is missing.
    """
    viewers: dict[tuple[str, str, CodedSize], list[TaskRow]] = defaultdict(list)
    for row in rows:
        viewers[row.viewer].append(row)
    if not viewers:
        raise UsageError("there are no results to summarise")
    tables, warnings = list[TaskTable](), list[str]()
    for viewer, members in viewers.items():
        own_tables, own_warnings = _tables(members, anchors)
        tables += own_tables
        warnings += [f"{viewer[0]}, {viewer[2]} size: {warning}" for warning in own_warnings]
    return TaskSummary(tables, warnings)


def _tables(rows: Sequence[TaskRow], anchors: Sequence[str] | None) -> tuple[list[TaskTable], list[str]]:
    originals = {row.sha256: row for row in rows if row.codec == ORIGINAL}
    curves = by_curve(row for row in rows if row.codec != ORIGINAL)
    if unknown := [name for name in anchors or () if name not in curves]:
        raise UsageError(f"no results for the anchor {unknown[0]!r} (measured: {', '.join(curves)})")
    settings = {label: sorted({row.setting for row in members}) for label, members in curves.items()}
    present = {label: {(row.sha256, row.setting): row for row in members} for label, members in curves.items()}
    pictures = [
        sha
        for sha in originals
        if all((sha, setting) in present[label] for label in curves for setting in settings[label])
    ]
    warnings = []
    if len(pictures) < len(originals):
        warnings.append(f"only {len(pictures)} of {len(originals)} pictures have all settings of all codecs")
    if not pictures:
        return [], warnings
    tables = []
    for name, score in SCORES[rows[0].task].items():
        if score.masks and not any(originals[sha].prediction.get("masks") for sha in pictures):
            continue
        known = [originals[sha] for sha in pictures if not score.labelled or _has_labels(originals[sha], score.masks)]
        if not known:
            continue
        if len(known) < len(pictures):
            labels = "outlines" if score.masks else "labels"
            warnings.append(f"{name}: only {len(known)} of {len(pictures)} pictures have {labels}")
        table = _table(name, score, known, present, settings, anchors)
        if table is None:
            warnings.append(f"{name}: there is nothing to find")
        else:
            tables.append(table)
    return tables, warnings


def _has_labels(original: TaskRow, masks: bool) -> bool:
    """Tell whether a picture has labels; with ``masks``, an outline for each object of them."""
    return original.truth is not None and (not masks or all(original.truth["shapes"]))


def _table(
    name: str,
    score: Score,
    originals: Sequence[TaskRow],
    present: dict[str, dict[tuple[str, float], TaskRow]],
    settings: dict[str, list[float]],
    anchors: Sequence[str] | None,
) -> TaskTable | None:
    """Score all codecs on pictures that all of them have; None where the references hold nothing to find."""
    references = [(row.truth if score.labelled else row.prediction) or {} for row in originals]
    counts = _bootstrap(len(originals))
    whole = np.vstack([np.ones((1, len(originals))), counts])  # first all pictures, then the samples of them
    scored = score.compute(references, [row.prediction for row in originals]).of_samples(whole)
    if np.isnan(scored[0]):
        return None
    curves: dict[str, list[TaskPoint]] = {}
    sampled: dict[str, tuple[Floats, Floats]] = {}
    for label, rows in present.items():
        rates, values, points = list[Floats](), list[Floats](), list[TaskPoint]()
        for setting in settings[label]:
            members = [rows[row.sha256, setting] for row in originals]
            bpp = np.array([row.bpp for row in members])
            rates.append(whole @ bpp / whole.sum(1))
            values.append(score.compute(references, [row.prediction for row in members]).of_samples(whole))
            points.append(
                TaskPoint(
                    setting,
                    float(bpp.mean()),
                    float(np.mean([row.bytes for row in members])),
                    _estimate(values[-1]),
                    _estimate(values[-1] - scored),
                )
            )
        curves[label] = sorted(points, key=lambda point: point.bpp)
        sampled[label] = np.array(rates), np.array(values)
    first = originals[0]
    return TaskTable(
        first.recogniser, first.weights, first.coded_size, name, score.title, len(originals), _estimate(scored), curves,
        [_compare(codec, anchor, sampled) for codec, anchor in _pairs(list(curves), anchors)],
    )  # fmt: skip


def _pairs(labels: Sequence[str], anchors: Sequence[str] | None) -> list[tuple[str, str]]:
    if anchors is not None:
        return [(codec, anchor) for anchor in anchors for codec in labels if codec != anchor]
    others = [label for label in labels if not is_ours(label)]
    ours = [label for label in labels if is_ours(label)]
    return [(codec, anchor) for codec in ours for anchor in others] + [(codec, others[0]) for codec in others[1:]]


def _compare(codec: str, anchor: str, sampled: dict[str, tuple[Floats, Floats]]) -> TaskComparison:
    """Compare mean curves, once of all pictures and once of each sample: both codecs have the same pictures in it."""
    rates, accuracies, warnings = list[float](), list[float](), list[str]()
    for sample in range(SAMPLES + 1):
        ours, theirs = (
            list(zip(*(values[:, sample].tolist() for values in sampled[name]), strict=True))
            for name in (codec, anchor)
        )
        rate, accuracy = bd_rate(ours, theirs), bd_quality(ours, theirs)
        rates.append(np.nan if rate.percent is None else rate.percent)
        accuracies.append(np.nan if accuracy.quality is None else accuracy.quality)
        if sample == 0:
            warnings = list(dict.fromkeys([*rate.warnings, *accuracy.warnings]))
    both = [None if np.isnan(values[0]) else _estimate(np.array(values)) for values in (rates, accuracies)]
    return TaskComparison(codec, anchor, both[0], both[1], warnings)


def _bootstrap(pictures: int) -> Floats:
    """Return how often each picture is in each of SAMPLES samples with replacement, the same in every run."""
    drawn = np.random.default_rng([_SEED, pictures]).integers(pictures, size=(SAMPLES, pictures))
    return np.stack([np.bincount(sample, minlength=pictures) for sample in drawn]).astype(float)


def _estimate(values: Floats) -> Estimate:
    """Take the first as the value, and the others as those of the samples."""
    samples = values[1:][~np.isnan(values[1:])]
    if len(samples) < _DEFINED * (len(values) - 1):
        return Estimate(float(values[0]), None, None, None)
    low, high = np.percentile(samples, (2.5, 97.5))
    return Estimate(float(values[0]), float(samples.std(ddof=1)), float(low), float(high))
