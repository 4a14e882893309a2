"""A run's pictures, from which crops and the objects in them are drawn; loaded when the first crop is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from promptcodec.train.data.arrivals import Watch
from promptcodec.train.data.crops import CropSampler, Store
from promptcodec.train.data.objects import CropObjects, ObjectReader
from promptcodec.train.data.pictures import Say

OpenStore = Callable[[dict[str, Any] | None, int], Store]
"""Load the pictures as they were in a store's ``state`` (None: as they are now) after so many samples."""

FIRST_STEP = -1 % 2**32  # no step of a run draws its crops


class TrainingData:
    """Crops of ``patch`` x ``patch`` pixels of the pictures that ``open_store`` loads, functions of (seed, step).

    ``min_scale``: how far half of the crops are scaled down; ``transposed``: the share whose rows become columns;
    ``plain``: none is any of that, nor flipped. ``watch``: seconds between looks for new pictures.
    """

    def __init__(
        self,
        open_store: OpenStore,
        patch: int,
        min_scale: float,
        seed: int,
        watch: float = 0.0,
        say: Say = print,
        plain: bool = False,
        transposed: float = 0.0,
    ) -> None:
        self.patch, self.seed = patch, seed
        self._open_store, self._min_scale, self._watch_seconds, self._say = open_store, min_scale, watch, say
        self._plain, self._transposed = plain, transposed
        self._state: dict[str, Any] | None = None
        self._samples = 0

    @cached_property
    def sampler(self) -> CropSampler:
        """The crops."""
        store = self._open_store(self._state, self._samples)
        return CropSampler(store, self.patch, self._min_scale, self.seed, self._plain, self._transposed)

    @property
    def store(self) -> Store:
        """The pictures."""
        return self.sampler.store

    @cached_property
    def watch(self) -> Watch:
        """Looks for pictures that arrive during the run."""
        return Watch(self.store, self._watch_seconds)

    @cached_property
    def _objects(self) -> ObjectReader:
        return ObjectReader(self.sampler, self._say)

    def first_crops(self, count: int) -> Tensor:
        """Return the crops for what a run begins with, (count, 3, patch, patch) in [0, 1]."""
        return self.sampler.batch(FIRST_STEP, count)

    def objects(self, step: int, size: int, part: int, parts: int) -> Sequence[CropObjects | None]:
        """Return the objects in each crop of that part of a batch, None where nothing says what its picture shows."""
        return self._objects.of_batch(step, size, part, parts)

    def state(self) -> dict[str, Any] | None:
        """Return the state that ``restore`` needs."""
        return self.store.state() if "sampler" in self.__dict__ else self._state

    def restore(self, state: dict[str, Any] | None, samples: int) -> None:
        """Continue after ``samples`` crops; None where nobody knows which pictures were in memory."""
        self._state, self._samples = state, samples
