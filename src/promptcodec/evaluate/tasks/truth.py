"""What the pictures of a test set show, as their labels say."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.coco import ANNOTATIONS
from promptcodec.tasks.recogniser import Task

Truth = dict[str, Any]

LABELS: dict[Task, tuple[str, ...]] = {"classify": ("labels.csv",), "detect": ANNOTATIONS, "read": ("words.csv",)}
"""Files that are looked for beside pictures."""


def read_truth(task: Task, sources: Sequence[Path], labels: Path | None = None) -> dict[str, Truth]:
    """Return what pictures show, by the names of their files without folders: of ``labels``, or of files named as in
    LABELS in the folders among ``sources``; empty where there are none.

    Raises UsageError for files that hold something else, and for a name that several labels have.
    """
    if labels is not None and not labels.is_file():
        raise UsageError(f"there is no file of labels {labels}")
    folders = dict.fromkeys(source if source.is_dir() else source.parent for source in sources)
    nearby = (folder / name for folder in folders for name in LABELS[task])
    truth: dict[str, Truth] = {}
    for path in [labels] if labels is not None else [path for path in nearby if path.is_file()]:
        for name, one in _objects(path) if task == "detect" else _column(task, path):
            key = Path(name).name
            if truth.setdefault(key, one) != one:
                raise UsageError(
                    f"the labels say two things of {key}, the second in {path}: pictures are told apart by the names "
                    "of their files, measure folders that share names one by one"
                )
    return truth


def check_names(pictures: Sequence[Path], truth: Mapping[str, Truth], labels: Path | None = None) -> None:
    """Raise UsageError where one label would be taken for several pictures, or ``labels`` are of none of them."""
    if labels is not None and truth.keys().isdisjoint(path.name for path in pictures):
        raise UsageError(f"the labels {labels} name none of the pictures, such as {pictures[0].name}")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in pictures:
        by_name[path.name].append(path)
    for name, paths in by_name.items():
        if len(paths) > 1 and name in truth and (different := len({path.read_bytes() for path in paths})) > 1:
            raise UsageError(
                f"{different} different pictures are called {name}, which the labels name once: measure their folders "
                "one by one"
            )


def _column(task: Task, path: Path) -> list[tuple[str, Truth]]:
    """Read a table, a row a picture, as names and what the pictures show."""
    column = "class_index" if task == "classify" else "text"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            values = [(row["file"], row[column]) for row in csv.DictReader(file)]
        return [(name, {"class": int(value)} if task == "classify" else {"lines": [value]}) for name, value in values]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(f"{path} is no table with the columns file and {column}: {error!r}") from error


def _objects(path: Path) -> list[tuple[str, Truth]]:
    """Read annotations in COCO's format; boxes become corners."""
    try:
        content = json.loads(path.read_bytes())
        by_picture: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            by_picture[entry["image_id"]].append(entry)
        return [(i["file_name"], _picture(by_picture[i["id"]])) for i in content["images"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} holds no instances in COCO's format: {error!r}") from error


def _picture(entries: Sequence[dict[str, Any]]) -> Truth:
    boxes = [[float(v) for v in entry["bbox"]] for entry in entries]
    return {
        "boxes": [[x, y, x + w, y + h] for x, y, w, h in boxes],
        "categories": [int(entry["category_id"]) for entry in entries],
        "crowd": [int(entry.get("iscrowd", 0)) for entry in entries],
        "shapes": [entry.get("segmentation") for entry in entries],
    }
