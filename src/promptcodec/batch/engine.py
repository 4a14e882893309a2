"""What runs shards: the protocol between the job and its engines.

An engine keeps ``slots`` workers, each a process with a codec of its own that stays loaded. The job submits shards, and
the engine has a worker run ``promptcodec.batch.process.process_shard(shard, settings, control)``, which reads, codes
and publishes by itself and returns a record. What happens comes back as events. An engine never tries a shard again by
itself: whether and how that is done is the job's to decide, by the deaths that it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from promptcodec.batch.records import Progress, ShardRecord
from promptcodec.batch.shards import Shard


class Control(Protocol):
    """A worker's line to the job while it works on a shard."""

    def stopping(self) -> bool:
        """Return whether the shard is to be dropped before its next picture: the job is being stopped, or is gone."""

    def advanced(self, progress: Progress) -> None:
        """Take note of what was done since the last call. Only informs; may be dropped."""


class Alone:
    """The control of a worker that nobody stops or watches."""

    def stopping(self) -> bool:
        return False

    def advanced(self, progress: Progress) -> None:
        pass


@dataclass(frozen=True)
class Finished:
    """A worker is done with a shard."""

    shard: Shard
    record: ShardRecord


@dataclass(frozen=True)
class WorkerDied:
    """The worker that had this shard is gone, and the shard with it. ``reason``: "killed by signal 9", for people."""

    shard: Shard
    reason: str


@dataclass(frozen=True)
class Raised:
    """``process_shard`` raised: what is wrong for every shard (UsageError), or a destination that takes nothing more.

    The job ends with this error.
    """

    shard: Shard
    error: Exception


@dataclass(frozen=True)
class Advanced:
    """A worker got on with its shard."""

    shard: Shard
    progress: Progress


Event = Finished | WorkerDied | Raised | Advanced


class Engine(Protocol):
    """Workers that take shards. Used by one thread; a context manager whose end leaves no worker behind."""

    @property
    def slots(self) -> int:
        """How many shards are worked on at once; may change as machines come and go."""

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None:
        """End the workers at once, whatever they do: what they had not published is dropped."""

    def submit(self, shard: Shard) -> None:
        """Give a shard to a worker; if all are busy, to the first that is free. Returns at once."""

    def events(self, timeout: float) -> Sequence[Event]:
        """Return what happened since the last call; waits up to ``timeout`` seconds where nothing has."""

    def stop(self) -> None:
        """Let every ``control.stopping()`` be true from now on, and begin no shard that still waits.

        For each that was submitted a Finished event still comes, with a record whose status is ``stopped`` unless the
        worker was done with it before; no further shards are submitted.
        """
