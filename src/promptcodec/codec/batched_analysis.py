"""Pictures of one size analysed in one pass of the networks, where that changes no bit of any latent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from promptcodec.codec.backend import Backend
from promptcodec.model.arrays import Analysis
from promptcodec.model.effort import Effort

MOST_FAILED_TRIALS = 3  # in a row, after which no further size is tried


class BatchedAnalysis:
    """Analyses pictures of one size together, as long as that gives what one at a time does.

    Libraries choose their kernels, and thereby the order of their sums, by the size of a batch, so that latents may
    differ in their last bit, and files in some integers. That follows from shapes, not from what is in them: the first
    batch of each shape is analysed both ways and compared, and later ones go together only where all bits were equal.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._equal: dict[tuple[int, ...], bool] = {}
        self._failed_trials = 0

    def __call__(self, pictures: Sequence[NDArray[np.uint8]], most: int) -> list[Analysis]:
        """Latents of each of ``pictures`` (H, W, 3), all of one size, ``most`` at a time at most."""
        latents: list[Analysis] = []
        while len(latents) < len(pictures):
            left = pictures[len(latents) :]
            count = 2 ** (min(len(left), most).bit_length() - 1)  # few counts, as each needs a trial
            while count > 1 and not self._may_be_equal(count, left[0]):
                count //= 2
            latents += self._analysed(left[:count])
        return latents

    def _may_be_equal(self, count: int, picture: NDArray[np.uint8]) -> bool:
        return self._equal.get((count, *picture.shape), self._failed_trials < MOST_FAILED_TRIALS)

    def _analysed(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Analysis]:
        key = (len(pictures), *pictures[0].shape)
        if len(pictures) > 1 and self._equal.get(key):
            return self._backend.analyse_batch(np.stack(pictures))
        alone = [self._backend.analyse(rgb, 0.0, None, Effort(0), lambda: None) for rgb in pictures]
        if len(pictures) > 1:
            self._equal[key] = equal = self._together_is_equal(pictures, alone)
            self._failed_trials = 0 if equal else self._failed_trials + 1
        return alone

    def _together_is_equal(self, pictures: Sequence[NDArray[np.uint8]], alone: Sequence[Analysis]) -> bool:
        try:
            together = self._backend.analyse_batch(np.stack(pictures))
        except (MemoryError, RuntimeError):  # torch has no other type for an allocation that failed
            return False
        return all(
            np.array_equal(one.y, other.y) and np.array_equal(one.z, other.z)
            for one, other in zip(alone, together, strict=True)
        )
