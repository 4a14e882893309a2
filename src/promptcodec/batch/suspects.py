"""Which member of a shard kills its workers: trials of halves, and of their halves, until it is alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from promptcodec.batch.shards import Shard

MOST_DEATHS = 2  # of workers on one shard, or one trial, before it is divided


class Suspects:
    """Decides what is tried after the death of a worker.

    Deaths that have nothing to do with the shard, as when a machine goes away, cost a second try; a member is guilty
    when it alone has ended two workers. ``count``: how many members a shard has.
    """

    def __init__(self, count: Callable[[Shard], int]) -> None:
        self._count = count
        self._deaths: Counter[tuple[str, tuple[int, int] | None]] = Counter()
        self._shards: dict[str, Shard] = {}
        self._open: dict[str, set[tuple[int, int]]] = {}
        self._guilty: dict[str, dict[int, str]] = {}

    def died(self, shard: Shard, reason: str) -> list[Shard] | None:
        """Return what to try next, once a worker on ``shard`` has died. None: nothing more can be done for this shard.

        Raises SourceError where the members of the shard cannot be counted.
        """
        key = (shard.id, shard.trial)
        self._deaths[key] += 1
        if self._deaths[key] < MOST_DEATHS:
            return [shard]
        del self._deaths[key]
        if shard.trial is None:
            if shard.id in self._shards:  # without the guilty ones it should have lived
                return None
            self._shards[shard.id] = shard
            self._open[shard.id], self._guilty[shard.id] = set(), {}
            return self._divide(shard, 0, self._count(shard), reason)
        self._open[shard.id].discard(shard.trial)
        return self._divide(shard, *shard.trial, reason)

    def survived(self, shard: Shard) -> list[Shard]:
        """Return what to try next, once a trial has ended well, or could not be made."""
        assert shard.trial is not None
        self._deaths.pop((shard.id, shard.trial), None)
        self._open[shard.id].discard(shard.trial)
        return self._whole(shard.id)

    def _divide(self, shard: Shard, first: int, last: int, reason: str) -> list[Shard]:
        if last - first <= 1:
            sentence = f"the worker process {reason} by it, {MOST_DEATHS} times; is there enough memory for it?"
            self._guilty[shard.id] |= dict.fromkeys(range(first, last), sentence)
            return self._whole(shard.id)
        middle = (first + last) // 2
        halves = [(first, middle), (middle, last)]
        self._open[shard.id].update(halves)
        return [shard.for_trial(*half) for half in halves]

    def _whole(self, shard_id: str) -> list[Shard]:
        """Return the shard without what is guilty, when all trials are over."""
        if self._open[shard_id]:
            return []
        return [self._shards[shard_id].without(self._guilty[shard_id])]
