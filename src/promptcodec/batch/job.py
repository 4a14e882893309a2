"""A job: hands shards to an engine until nothing is left, and sums up what became of them."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from promptcodec.batch.engine import Advanced, Engine, Finished, Raised, WorkerDied
from promptcodec.batch.manifest import Done, Job, Manifest
from promptcodec.batch.process import count_members
from promptcodec.batch.records import Failure, Progress, ShardRecord, Sums, add_sums
from promptcodec.batch.shards import Shard
from promptcodec.batch.suspects import Suspects
from promptcodec.errors import SourceError

MOST_UNREAD = 5  # shards in a row that the storage of the sources does not give out, after which the job ends
_POLL = 0.2  # seconds


class Watcher(Protocol):
    """Whoever shows how a job gets on. May fail at nothing."""

    def begun(self, shards: int) -> None:
        """So many shards are to be done."""

    def advanced(self, progress: Progress) -> None:
        """Pictures were done; negative numbers take back what was lost with a worker."""

    def finished(self, record: ShardRecord) -> None:
        """A shard has a record."""


@dataclass
class Summary:
    """What became of a job.

    ``shards``: recorded by this run, ``earlier``: recorded before it, ``unfinished``: left for another run.
    ``progress``, ``warnings``, ``deaths`` (of workers) and ``seconds``: of this run; ``failures`` and ``sums`` of
    measurements: of all runs. ``stopped``: by Ctrl-C or SIGTERM. ``passed_over``: files of the sources that are no
    pictures, by extension.
    """

    shards: int = 0
    earlier: int = 0
    unfinished: int = 0
    progress: Progress = field(default_factory=Progress)
    carried: int = 0
    failures: list[Failure] = field(default_factory=list)
    warnings: dict[str, tuple[int, str]] = field(default_factory=dict)
    sums: Sums = field(default_factory=dict)
    deaths: int = 0
    seconds: float = 0.0
    stopped: bool = False
    passed_over: dict[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every picture has its output."""
        return not self.failures and not self.unfinished and not self.stopped


class _Run:
    def __init__(self, job: Job, manifest: Manifest, engine: Engine, watcher: Watcher, done: Done) -> None:
        self.job, self.manifest, self.engine, self.watcher, self.done = job, manifest, engine, watcher, done
        self.summary = Summary(earlier=len(done.records))
        self.waiting: deque[Shard] = deque()
        self.in_hand: dict[tuple[str, Any], Progress] = {}
        self.suspects = Suspects(count_members)
        self.unread: list[Failure] = []
        self.unread_in_a_row = 0

    def drive(self, shards: Sequence[Shard], interrupted: Callable[[], bool]) -> None:
        self.waiting.extend(shards)
        while self.waiting or self.in_hand:
            if interrupted() and not self.summary.stopped:
                self.summary.stopped = True
                self.summary.unfinished += len(self.waiting)
                self.waiting.clear()
                self.engine.stop()
            while self.waiting and len(self.in_hand) < self.engine.slots:
                shard = self.waiting.popleft()
                self.in_hand[shard.id, shard.trial] = Progress()
                self.engine.submit(shard)
            for event in self.engine.events(_POLL):
                if isinstance(event, Advanced):
                    self._advanced(event.shard, event.progress)
                elif isinstance(event, Raised):
                    raise event.error
                elif isinstance(event, WorkerDied):
                    self._died(event.shard, event.reason)
                else:
                    self._finished(event)

    def _advanced(self, shard: Shard, progress: Progress) -> None:
        key = (shard.id, shard.trial)
        if shard.trial is None and key in self.in_hand:
            self.in_hand[key] += progress
            self.watcher.advanced(progress)

    def _finished(self, event: Finished) -> None:
        shard, record = event.shard, event.record
        reported = self.in_hand.pop((shard.id, shard.trial), Progress())
        if shard.trial is not None:
            self.waiting.extendleft(self.suspects.survived(shard) if record.status != "stopped" else [])
            self.summary.unfinished += record.status == "stopped"
            return
        counted = record.status in ("done", "failed")
        total = Progress()
        if counted:
            failed = len(record.failures)
            total = Progress(record.pictures, failed, record.pixels, record.bytes_in, record.bytes_out)
            self._count(record)
        else:
            self.summary.unfinished += 1
        if counted and record.shard != shard.id:  # stopped early: the rest of its files is for another run
            self.summary.unfinished += 1
        self.watcher.advanced(total - reported)
        self.summary.progress += total
        self.watcher.finished(record)
        self.unread_in_a_row = self.unread_in_a_row + 1 if record.status == "unread" else 0
        if record.status == "unread":
            self.unread += record.failures
            if self.unread_in_a_row >= MOST_UNREAD:
                raise SourceError(
                    f"{record.failures[0].message}; so it was with {MOST_UNREAD} shards in a row", "access"
                )

    def _count(self, record: ShardRecord) -> None:
        self.done.add(record)
        self.summary.shards += 1
        self.summary.carried += record.carried
        for text, (number, first) in record.warnings.items():
            before = self.summary.warnings.get(text, (0, first))
            self.summary.warnings[text] = (before[0] + number, before[1])

    def _died(self, shard: Shard, reason: str) -> None:
        self.summary.deaths += 1
        self.watcher.advanced(Progress() - self.in_hand.pop((shard.id, shard.trial), Progress()))
        if self.summary.stopped:
            self.summary.unfinished += 1
            return
        try:
            following = self.suspects.died(shard, reason)
        except SourceError as error:
            following, reported = None, str(error)
        else:
            reported = f"its worker processes died ({reason}), though they survive each of its members"
        if following is not None:
            self.waiting.extendleft(reversed(following))
            return
        failure = Failure(shard.name, reported)
        record = ShardRecord(
            shard.id, shard.kind, "failed", shard.source, shard.output,
            failures=(failure,), settings=self.job.digest(), fingerprint=self.job.settings.fingerprint(),
        )  # fmt: skip
        self.manifest.add(record, replace_earlier=shard.again)
        self._count(record)
        self.watcher.finished(record)


def run_job(
    job: Job,
    shards: Sequence[Shard],
    manifest: Manifest,
    done: Done,
    engine: Engine,
    watcher: Watcher,
    problems: Sequence[Failure] = (),
) -> Summary:
    """Run ``shards``, which the manifest has not yet, on an engine, and write the list of failures.

    ``done``: what the manifest has. ``problems``: what could not be planned, to be listed with the failures. After
    Ctrl-C or SIGTERM no shard is begun; those in hand are dropped, or recorded as far as they are finished. Raises
    DestinationError, UsageError, and SourceError where shard after shard cannot be read.
    """
    run = _Run(job, manifest, engine, watcher, done)
    run.summary.earlier -= sum(shard.id in done.records for shard in shards)  # those that are tried again
    begin = time.perf_counter()
    watcher.begun(len(shards))
    with engine, _interrupts() as interrupted:
        run.drive(shards, interrupted)
    summary = run.summary
    summary.seconds = time.perf_counter() - begin
    summary.failures = [*problems, *run.unread, *done.failures()]
    for record in done.records.values():
        summary.sums = add_sums(summary.sums, record.sums)
    manifest.write_failures(summary.failures)
    return summary


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM has come. The second one does what it would have done without this."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        came.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
