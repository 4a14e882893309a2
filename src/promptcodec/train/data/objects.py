"""Objects in training pictures: outlines from COCO's annotations beside them, as masks of the crops that are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.coco import Annotated, instance_mask, read_instances
from promptcodec.train.data.crops import CropSampler, Cut
from promptcodec.train.data.sources import INSTANCES, Entry


@dataclass(frozen=True)
class CropObjects:
    """The objects in one crop: iterating makes their masks, (patch, patch) in {0, 1}, one at a time.

    ``height`` and ``width``: of the picture, which may be a resized copy of the annotated one.
    """

    annotated: Annotated
    cut: Cut
    height: int
    width: int
    patch: int

    def __iter__(self) -> Iterator[Tensor]:
        cut = self.cut
        size = np.array([self.width, self.height])
        resized = size / (self.annotated.width, self.annotated.height)
        for outlines in self.annotated.shapes:
            moved = []
            for outline in outlines:
                points = np.clip(outline.reshape(-1, 2) * resized, 0, size)
                # Pillow cuts fractions off: floor makes -0.5 a pixel outside the crop rather than its first one.
                moved.append(np.floor((points - (cut.left, cut.top)) * (self.patch / cut.side)))
            if all((points.max(0) < 0).any() or (points.min(0) >= self.patch).any() for points in moved):
                continue
            mask = instance_mask([[points.ravel().tolist() for points in moved]], self.patch, self.patch) > 0
            mask = mask[:: -1 if cut.down else 1, :: -1 if cut.across else 1]
            yield torch.from_numpy((mask.T if cut.transposed else mask).astype(np.float32))


class ObjectReader:
    """Which objects the crops of ``sampler`` show; every file of annotations is read once, when a crop needs it."""

    def __init__(self, sampler: CropSampler, say: Callable[[str], None]) -> None:
        self.sampler, self.say = sampler, say
        self._known: dict[Entry | Path, Mapping[str, Annotated]] = {}

    def of_batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> list[CropObjects | None]:
        """Return the objects in each crop of a ``batch``, None where nothing says what its picture shows."""
        store, crops = self.sampler.store, list[CropObjects | None]()
        for cut in self.sampler.cuts(step, size)[part::parts]:
            entry = store.entry(cut.picture)
            annotated = None if entry is None else self._of_picture(entry)
            height, width = store.pictures[cut.picture].shape[:2]
            crop = None if annotated is None else CropObjects(annotated, cut, height, width, self.sampler.patch)
            crops.append(crop)
        return crops

    def _of_picture(self, entry: Entry) -> Annotated | None:
        where = entry.instances or entry.path.parent
        if where not in self._known:
            self._known[where] = self._read(where)
        return self._known[where].get(PurePosixPath(entry.name).name)

    def _read(self, where: Entry | Path) -> Mapping[str, Annotated]:
        """Return by name of picture all that a shard's annotations, or those in or for a folder, say."""
        if isinstance(where, Path):
            places = (where / INSTANCES, where.parent / "annotations" / f"instances_{where.name}.json")
            path = next((place for place in places if place.is_file()), None)
            if path is None:
                return {}
            where = Entry(path)
        try:
            read = read_instances(where.read(), f"{INSTANCES} of {where.path}", _packed)
        except (OSError, UsageError) as error:
            self.say(f"left out: objects of pictures in {where.path.parent} ({error})")
            return {}
        return {PurePosixPath(name).name: annotated for name, annotated in read.items()}


def _packed(content: dict[str, Any]) -> dict[str, Any]:
    """Keep of an annotation what is needed, in four bytes a number; what is none as it is.

    Left out: run lengths, which stand for crowds, and outlines of less than three points.
    """
    if "segmentation" not in content:
        return content
    shape = content["segmentation"]
    outlines = [np.array(points, np.float32) for points in shape if len(points) >= 6] if isinstance(shape, list) else []
    if any(points.ndim != 1 or points.size % 2 or not np.isfinite(points).all() for points in outlines):
        raise ValueError(f"expected outlines as x, y, x, y, …, found {str(shape)[:60]}")
    return {"image_id": content["image_id"], "segmentation": outlines}
