"""Training data that arrives during a run, and how several processes take up the same."""

from __future__ import annotations

import time

from promptcodec.errors import UsageError
from promptcodec.train.data.crops import Store
from promptcodec.train.data.sources import Unit
from promptcodec.train.run.distributed import World


class Watch:
    """Looks for new units every ``seconds``, and more seldom where looking is slow; 0 never looks."""

    def __init__(self, store: Store, seconds: float) -> None:
        self.store, self.seconds = store, seconds
        self._due = time.monotonic() + seconds

    def arrived(self) -> list[Unit]:
        """Return new units, if it is time to look."""
        started = time.monotonic()
        if not self.seconds or started < self._due:
            return []
        units = self.store.arrived()
        now = time.monotonic()
        self._due = now + max(self.seconds, 100 * (now - started))  # at most a hundredth of the time goes into it
        return units


def take_up_arrivals(watch: Watch, world: World) -> list[str]:
    """Take up data that arrived, the same in every process; a checkpoint must follow, so that it is recorded.

    Returns the names of its units. Raises UsageError where a process lacks some of it.
    """
    store = watch.store
    units = watch.arrived() if world.leads else []
    taken: list[str] = world.from_leader(store.take_up(units) if units else [])
    if taken and not world.leads:
        missing = set(taken) - set(store.take_up([unit for unit in store.arrived() if unit.name in taken]))
        if missing:
            raise UsageError(f"process {world.rank} lacks data that the first one has: {sorted(missing)}")
    return taken
