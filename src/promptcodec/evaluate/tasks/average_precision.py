"""Average precision of boxes or masks, as COCO defines it, for all pictures and for many samples of them at once."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptcodec.system.extras import import_extra

Floats = NDArray[np.float64]
Shape = Literal["bbox", "segm"]

RECALLS = np.linspace(0, 1, 101)
_MOST = 100  # detections of a picture that count


@dataclass(frozen=True)
class _Category:
    """Detections of one category, the surest first: ``picture`` (d,), ``right`` and ``wrong`` (10, d), a row a
    threshold of overlap; ``present`` (pictures,): objects that are to be found.
    """

    picture: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    present: NDArray[np.int64]


class AveragePrecision:
    """Matches detections with what is there, once; then averages over any choice of the pictures.

    ``truths`` and ``predictions``: one a picture, as rows of ``eval --task`` have them. Matching is pycocotools'.
    Raises UsageError where it is missing.
    """

    def __init__(
        self, truths: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]], shape: Shape = "bbox"
    ) -> None:
        evaluation = _matched(truths, predictions, shape)
        self._pictures = len(truths)
        self._categories = [
            category
            for index in range(len(evaluation.params.catIds))
            if (category := _category(evaluation, index, self._pictures)) is not None
        ]

    def of_all(self, overlap: float | None = None) -> float:
        """Return the mean over categories and overlaps from 0.5 to 0.95, in per cent; ``overlap``: only that one.

        Not a number where there is nothing to find.
        """
        return float(self.of_samples(np.ones((1, self._pictures)), overlap)[0])

    def of_samples(self, counts: Floats, overlap: float | None = None) -> Floats:
        """Return ``of_all`` for (n, pictures) ``counts`` of how often each picture is in a sample, (n,)."""
        first = 0 if overlap is None else round((overlap - 0.5) / 0.05)
        chosen = slice(first, None if overlap is None else first + 1)
        totals, categories = np.zeros(len(counts)), np.zeros(len(counts))
        for category in self._categories:
            present = counts @ category.present
            precision = _precision(category, counts, present, chosen)
            totals += np.where(present > 0, precision, 0)
            categories += present > 0
        with np.errstate(invalid="ignore"):
            return 100 * totals / categories


def _precision(category: _Category, counts: Floats, present: Floats, chosen: slice) -> Floats:
    """Return the mean of the precision over recalls and overlaps, one a sample."""
    if not len(category.picture):
        return np.zeros(len(counts))
    weights = counts[:, category.picture]
    means = np.zeros(len(counts))
    thresholds = range(*chosen.indices(len(category.right)))
    for threshold in thresholds:
        right = np.cumsum(weights * category.right[threshold], axis=1)
        wrong = np.cumsum(weights * category.wrong[threshold], axis=1)
        precision = right / np.maximum(right + wrong, np.spacing(1))
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        recall = right / np.maximum(present, 1)[:, None]
        means += _at_recalls(recall, precision)
    return means / len(thresholds)


def _at_recalls(recall: Floats, precision: Floats) -> Floats:
    """Return the mean over 101 recalls of the precision where each is first reached, 0 where it never is; (n,)."""
    padded = np.pad(precision, ((0, 0), (0, 1)))
    return np.array(
        [row[np.searchsorted(reached, RECALLS)].mean() for row, reached in zip(padded, recall, strict=True)]
    )


def _category(evaluation: Any, index: int, pictures: int) -> _Category | None:
    entries = evaluation.evalImgs[index * pictures : (index + 1) * pictures]
    matched = [(place, entry) for place, entry in enumerate(entries) if entry is not None]
    present = np.zeros(pictures, np.int64)
    for place, entry in matched:
        present[place] = int((np.asarray(entry["gtIgnore"]) == 0).sum())
    if not present.any():
        return None
    scores = np.concatenate([np.asarray(entry["dtScores"], float) for _, entry in matched])
    order = np.argsort(-scores, kind="mergesort")
    hits = np.concatenate([entry["dtMatches"] for _, entry in matched], axis=1)[:, order] != 0
    ignored = np.concatenate([entry["dtIgnore"] for _, entry in matched], axis=1)[:, order] != 0
    picture = np.concatenate([np.full(len(e["dtScores"]), place) for place, e in matched]).astype(np.int64)
    return _Category(picture[order], hits & ~ignored, ~hits & ~ignored, present)


def _matched(truths: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]], shape: Shape) -> Any:
    coco = import_extra("pycocotools.coco", "pycocotools", "tasks").COCO
    evaluator = import_extra("pycocotools.cocoeval", "pycocotools", "tasks").COCOeval
    categories = sorted({c for one in (*truths, *predictions) for c in one["categories"]})
    annotations = [
        {"image_id": place, "category_id": category, "iscrowd": crowd, "bbox": _sides(box),
         "area": (box[2] - box[0]) * (box[3] - box[1]), **({"segmentation": outline} if outline else {})}
        for place, truth in enumerate(truths)
        for box, category, crowd, outline in zip(
            truth["boxes"], truth["categories"], truth.get("crowd") or [0] * len(truth["boxes"]),
            truth.get("shapes") or [None] * len(truth["boxes"]), strict=True,
        )
    ]  # fmt: skip
    detections = [
        {"image_id": place, "category_id": category, "score": score, "bbox": _sides(box),
         **({"segmentation": one["masks"][i]} if shape == "segm" else {})}
        for place, one in enumerate(predictions)
        for i, (box, score, category) in enumerate(zip(one["boxes"], one["scores"], one["categories"], strict=True))
    ]  # fmt: skip
    reference = coco()
    sizes = [one["masks"][0]["size"] if one.get("masks") else (0, 0) for one in predictions]
    reference.dataset = {
        "images": [{"id": place, "height": size[0], "width": size[1]} for place, size in enumerate(sizes)],
        # From one on: a match with number zero counts as none.
        "annotations": [{"id": number, **annotation} for number, annotation in enumerate(annotations, 1)],
        "categories": [{"id": category} for category in categories],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it reports progress
        reference.createIndex()
        found_boxes = reference.loadRes(detections) if detections else coco()
        if not detections:
            found_boxes.dataset = {"images": reference.dataset["images"], "annotations": [], "categories": []}
            found_boxes.createIndex()
        evaluation = evaluator(reference, found_boxes, shape)
        evaluation.params.imgIds = list(range(len(truths)))
        evaluation.params.catIds = categories
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ["all"]
        evaluation.params.maxDets = [_MOST]
        evaluation.evaluate()
    return evaluation


def _sides(box: Sequence[float]) -> list[float]:
    """Return corners as COCO's x, y, width and height."""
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
