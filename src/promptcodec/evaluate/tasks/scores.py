"""The scores of a task: what each is called, and how it follows from predictions and labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptcodec.evaluate.tasks.average_precision import AveragePrecision, Shape
from promptcodec.tasks.recogniser import Task

Floats = NDArray[np.float64]
Json = dict[str, Any]

SURE = 0.3
"""Least score of what a detector sees in an original, for a decoded picture to be asked for it."""


class Sampled(Protocol):
    """A score, in per cent, of any samples of the pictures."""

    def of_samples(self, counts: Floats) -> Floats:
        """Return the score for (n, pictures) ``counts`` of how often each picture is in a sample, (n,)."""


@dataclass(frozen=True)
class Share:
    """The share of the pictures on which something is right, (pictures,), or how much of it is."""

    right: Floats

    def of_samples(self, counts: Floats) -> Floats:
        """Return the means in per cent, (n,)."""
        return np.asarray(100 * (counts @ self.right) / counts.sum(1))


@dataclass(frozen=True)
class _At:
    """Average precision at one overlap."""

    precision: AveragePrecision
    overlap: float

    def of_samples(self, counts: Floats) -> Floats:
        return self.precision.of_samples(counts, self.overlap)


@dataclass(frozen=True)
class Score:
    """Describes a score, and computes it from one reference and one prediction a picture.

    ``labelled``: whether the reference is what labels say; else it is the prediction on the original. ``masks``:
    whether it compares outlines of objects, which not all labels and not all detectors have.
    """

    title: str
    labelled: bool
    compute: Callable[[Sequence[Json], Sequence[Json]], Sampled]
    masks: bool = False


def _among(references: Sequence[Json], predictions: Sequence[Json], first: int) -> Share:
    pairs = zip(references, predictions, strict=True)
    return Share(np.array([r["class"] in p["ranking"][:first] for r, p in pairs], float))


def _same_class(references: Sequence[Json], predictions: Sequence[Json]) -> Share:
    pairs = zip(references, predictions, strict=True)
    return Share(np.array([r["ranking"][0] == p["ranking"][0] for r, p in pairs], float))


def _precision(references: Sequence[Json], predictions: Sequence[Json], shape: Shape = "bbox") -> Sampled:
    return AveragePrecision(references, predictions, shape)


def _precision_at_half(references: Sequence[Json], predictions: Sequence[Json]) -> Sampled:
    return _At(AveragePrecision(references, predictions), 0.5)


def _as_reference(prediction: Json) -> Json:
    sure = [i for i, score in enumerate(prediction["scores"]) if score >= SURE]
    reference = {name: [prediction[name][i] for i in sure] for name in ("boxes", "categories")}
    if prediction.get("masks"):
        reference["shapes"] = [prediction["masks"][i] for i in sure]
    return reference


def _precision_by_original(references: Sequence[Json], predictions: Sequence[Json], shape: Shape = "bbox") -> Sampled:
    return AveragePrecision([_as_reference(one) for one in references], predictions, shape)


def _words(references: Sequence[Json], predictions: Sequence[Json]) -> Share:
    """Score a picture by the share of its words that are read: each in a text of its own, which may hold more, such as
    what the background is taken for.
    """
    shares = []
    for reference, prediction in zip(references, predictions, strict=True):
        words, texts = (" ".join(one["lines"]).lower().split() for one in (reference, prediction))
        right = 0
        for word in sorted(words, key=len, reverse=True):  # the longest first: it may contain another
            place = next((i for i, text in enumerate(texts) if word in text), None)
            if place is not None:
                texts.pop(place)
                right += 1
        shares.append(right / len(words) if words else 1.0)
    return Share(np.array(shares))


SCORES: dict[Task, dict[str, Score]] = {
    "classify": {
        "top1": Score("top-1 accuracy", True, partial(_among, first=1)),
        "top5": Score("top-5 accuracy", True, partial(_among, first=5)),
        "agreement": Score("same class as on the original", False, _same_class),
    },
    "detect": {
        "box_map": Score("box mAP", True, _precision),
        "box_map50": Score("box mAP at overlap 0.5", True, _precision_at_half),
        "mask_map": Score("mask mAP", True, partial(_precision, shape="segm"), masks=True),
        "agreement": Score("box mAP, detections on the original as truth", False, _precision_by_original),
        "mask_agreement": Score(
            "mask mAP, masks on the original as truth", False, partial(_precision_by_original, shape="segm"), masks=True
        ),
    },
    "read": {
        "words": Score("words read right", True, _words),
        "agreement": Score("same words as on the original", False, _words),
    },
}  # fmt: skip
