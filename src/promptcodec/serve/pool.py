"""Worker processes, and the bounded queue in front of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from threading import Lock
from typing import Any

from promptcodec.serve import messages, worker
from promptcodec.serve.messages import Message, SourceNeededError
from promptcodec.serve.problems import ServiceError, problem_of
from promptcodec.serve.telemetry import Telemetry
from promptcodec.system.import_path import SafeChildren
from promptcodec.system.printable import printable

START_SECONDS = 120.0  # that a worker may take to load its model
RETRY_SECONDS = 2.0  # what a client is told to wait
_PAUSES = (0.1, 1.0, 5.0, 30.0)  # seconds after one worker in a row, two, … that did not start

_LOG = logging.getLogger("uvicorn.error")  # where the server reports

_numbers = count(1)


@dataclass
class Job:
    """Something for a worker to do, and who waits for it.

    ``affinity``: jobs of the same one go to the worker that had the last, where it is free; that one does not get the
    blobs ``kept``, which it may still have, unless it asks for them. ``group`` and ``sequence``: of the jobs of a group
    that wait, only the one of the highest sequence runs.
    """

    operation: str
    arguments: Mapping[str, Any]
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    kept: Mapping[str, bytes] = field(default_factory=dict)
    affinity: str | None = None
    group: str | None = None
    sequence: int = 0
    number: int = field(default_factory=lambda: next(_numbers))
    answer: asyncio.Future[Message] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, problem: ServiceError) -> None:
        """Tell whoever waits."""
        if not self.answer.done():
            self.answer.set_exception(problem)


class _Process:
    """One worker process and the connection to it."""

    def __init__(self, settings: worker.Worker) -> None:
        context = get_context("spawn")  # torch's threads do not survive a fork
        self.connection, theirs = context.Pipe()
        self._sending = Lock()
        self.process = context.Process(target=worker.main, args=(theirs, settings), daemon=True)
        with SafeChildren():
            self.process.start()
        theirs.close()

    def ready(self) -> Message:
        """Wait for the first message. Raises EOFError where the process ended."""
        return messages.receive(self.connection)

    def exchange(self, message: Message) -> Message:
        """Send a job and wait for its answer. Raises EOFError or OSError where the process ended."""
        with self._sending:
            messages.send(self.connection, message)
        return messages.receive(self.connection)

    def cancel(self, job: int) -> None:
        """Tell the worker that nobody waits for a job."""
        with self._sending, suppress(OSError):
            messages.send(self.connection, Message({"cancel": job}))

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Pool:
    """Workers of one kind. All of it runs in one event loop."""

    def __init__(
        self, settings: worker.Worker, size: int, max_queue: int, max_seconds: float, max_wait: float,
        telemetry: Telemetry,
    ) -> None:  # fmt: skip
        self.settings, self.size, self.max_queue = settings, size, max_queue
        self.max_seconds, self.max_wait = max_seconds, max_wait
        self._telemetry = telemetry
        self._waiting: list[Job] = []
        self._running: dict[int, tuple[Job, _Process]] = {}
        self._changed = asyncio.Condition()
        self._idle: set[int] = set()
        self._last: dict[str, int] = {}  # which worker had the last job of an affinity
        self._threads = ThreadPoolExecutor(2 * size + 1, thread_name_prefix=settings.kind)
        self._tasks: list[asyncio.Task[None]] = []
        self.alive = 0

    async def start(self) -> None:
        """Begin the workers; jobs may be given at once."""
        self._tasks = [asyncio.create_task(self._supervise(slot)) for slot in range(self.size)]

    async def close(self) -> None:
        """End the workers; jobs that still wait or run fail."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for job in self._waiting:
            job.fail(ServiceError("busy", "the service is ending", RETRY_SECONDS))
        self._threads.shutdown(wait=False)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Jobs that workers have in hand."""
        return len(self._running)

    def check_room(self) -> None:
        """Raise ServiceError where no further job is taken."""
        if len(self._waiting) >= self.max_queue:
            raise ServiceError(
                "busy", f"{self.max_queue} requests are waiting already, which is the limit; try again in a moment",
                RETRY_SECONDS,
            )  # fmt: skip

    async def run(self, job: Job) -> Message:
        """Return the answer to a job. Raises ServiceError. Where the caller is cancelled, so is the job."""
        self._supersede(job)
        self.check_room()
        async with self._changed:
            self._waiting.append(job)
            self._changed.notify_all()
        expiry = asyncio.get_running_loop().call_later(self.max_wait, self._expire, job)
        try:
            return await job.answer
        finally:
            expiry.cancel()
            self._forget(job)

    def _expire(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            job.fail(ServiceError("busy", f"no worker was free for {self.max_wait:g} seconds", RETRY_SECONDS))

    def forget_affinity(self, affinity: str) -> None:
        """Drop what is known of an affinity."""
        self._last.pop(affinity, None)

    def _supersede(self, job: Job) -> None:
        for other in [other for other in self._waiting if job.group is not None and other.group == job.group]:
            if other.sequence > job.sequence:
                raise ServiceError("superseded", "a newer request for the same picture is waiting already")
            self._waiting.remove(other)
            other.fail(ServiceError("superseded", "a newer request for the same picture took its place"))

    def _forget(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        if job.answer.cancelled() and (running := self._running.get(job.number)) is not None:
            self._threads.submit(running[1].cancel, job.number)

    async def _supervise(self, slot: int) -> None:
        failures = 0
        while True:
            try:
                process = await self._begin()
            except (EOFError, OSError, TimeoutError) as error:
                failures += 1
                _LOG.error("a worker did not start: %s %s", type(error).__name__, printable(str(error)))
                await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES)) - 1])
                continue
            failures = 0
            self.alive += 1
            try:
                await self._work(slot, process)
            finally:
                self.alive -= 1
                self._idle.discard(slot)
                self._last = {affinity: other for affinity, other in self._last.items() if other != slot}
                process.end()

    async def _begin(self) -> _Process:
        process = _Process(self.settings)
        loop = asyncio.get_running_loop()
        try:
            first = await asyncio.wait_for(loop.run_in_executor(self._threads, process.ready), START_SECONDS)
            if "ready" not in first.facts:
                raise OSError(f"{first.facts.get('error')}: {first.facts.get('message')}")
        except BaseException:
            process.end()
            raise
        return process

    async def _work(self, slot: int, process: _Process) -> None:
        """Run jobs until the process has to be replaced."""
        alive = True
        while alive:
            job = await self._next(slot)
            known = job.affinity is not None and self._last.get(job.affinity) == slot
            if job.affinity is not None:
                self._last[job.affinity] = slot
            self._running[job.number] = (job, process)
            try:
                alive = await self._execute(process, job, known)
            except asyncio.CancelledError:
                job.fail(ServiceError("busy", "the service is ending", RETRY_SECONDS))
                raise
            finally:
                del self._running[job.number]

    async def _next(self, slot: int) -> Job:
        async with self._changed:
            self._idle.add(slot)
            await self._changed.wait_for(lambda: self._choice(slot) is not None)
            self._idle.discard(slot)
            job = self._choice(slot)
            assert job is not None
            self._waiting.remove(job)
            return job

    def _choice(self, slot: int) -> Job | None:
        """Return the first job that waits, unless another worker that is free had the last of its affinity."""
        for job in self._waiting:
            last_slot = self._last.get(job.affinity or "")
            if last_slot is None or last_slot == slot or last_slot not in self._idle:
                return job
        return None

    def _threads_for_next(self) -> int:
        """Return the threads for a job that begins now."""
        alone = len(self._running) == 1 and not self._waiting
        return self.settings.threads_alone if alone else self.settings.threads

    async def _execute(self, process: _Process, job: Job, known: bool) -> bool:
        """Have a job done; returns whether the process can go on. ``known``: it may have the blobs that are kept."""
        begin = time.perf_counter()
        exchange = asyncio.ensure_future(self._exchange(process, job, known))
        exchange.add_done_callback(lambda done: done.cancelled() or done.exception())  # where nobody waits any more
        done, _ = await asyncio.wait({exchange}, timeout=self.max_seconds)
        self._telemetry.worked(job.operation, time.perf_counter() - begin)
        if not done:
            self._telemetry.worker_ended("time")
            job.fail(
                ServiceError("over-time", f"it took more than the {self.max_seconds:g} seconds that a request may take")
            )
            process.process.kill()
            await asyncio.wait({exchange})
            exchange.exception()
            return False
        try:
            answer = exchange.result()
        except (EOFError, OSError, ValueError):
            self._telemetry.worker_ended("died")
            job.fail(
                ServiceError("worker-ended", "the process that worked on this request was ended, perhaps for lack of "
                        "memory; other requests are not affected, and this one may be sent again")
            )  # fmt: skip
            return False
        # What an allocation that failed leaves behind, in pieces, may be too much for the next job.
        short_of_memory = answer.facts.get("error") == MemoryError.__name__
        if short_of_memory:
            self._telemetry.worker_ended("memory")
        if job.answer.done():
            return not short_of_memory
        if "error" in answer.facts:
            job.fail(problem_of(answer.facts["error"], answer.facts["message"]))
        else:
            job.answer.set_result(answer)
        return not short_of_memory

    async def _exchange(self, process: _Process, job: Job, known: bool) -> Message:
        loop = asyncio.get_running_loop()
        facts = {
            "job": job.number, "operation": job.operation, "arguments": dict(job.arguments),
            "threads": self._threads_for_next(),
        }  # fmt: skip
        if known:
            message = Message(facts, job.blobs)
            answer = await loop.run_in_executor(self._threads, process.exchange, message)
            if answer.facts.get("error") != SourceNeededError.__name__:
                return answer
        message = Message(facts, {**job.blobs, **job.kept})
        return await loop.run_in_executor(self._threads, process.exchange, message)
