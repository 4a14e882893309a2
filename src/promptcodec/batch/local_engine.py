"""The engine of one machine: worker processes, each with a codec of its own and a pipe to the job."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from threading import Event as Flag
from threading import Thread
from typing import Any

from promptcodec.batch.engine import Advanced, Event, Finished, Raised, WorkerDied
from promptcodec.batch.records import Progress, ShardRecord
from promptcodec.batch.settings import Settings
from promptcodec.batch.shards import Shard
from promptcodec.errors import PromptcodecError
from promptcodec.system.import_path import ProgramNotImported, SafeChildren
from promptcodec.system.interrupts import interrupts_blocked
from promptcodec.system.printable import valid_unicode

PATIENCE = 5.0  # seconds that workers have to drop what they do when the job ends
STARTS = 3  # of a worker in vain, one after another
_INTERVAL = 0.2  # seconds between reports of a worker


@dataclass
class _Worker:
    process: Any
    connection: Connection
    shard: Shard | None = None
    ready: bool = False


class LocalEngine:
    """``processes`` workers of ``threads`` threads each. A worker that dies is replaced."""

    def __init__(self, settings: Settings, processes: int, threads: int = 1) -> None:
        self.slots = processes
        self._settings, self._threads = settings, threads
        self._workers: list[_Worker] = []
        self._waiting: deque[Shard] = deque()
        self._events: list[Event] = []
        self._stopped = False
        self._failed_starts = 0

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.connection.close()  # which a worker takes for the end of the job
        deadline = time.monotonic() + PATIENCE
        for worker in self._workers:
            worker.process.join(max(deadline - time.monotonic(), 0))
            worker.process.kill()
            worker.process.join()
        self._workers.clear()

    def submit(self, shard: Shard) -> None:
        self._waiting.append(shard)
        self._hand_out()

    def events(self, timeout: float) -> Sequence[Event]:
        if not self._events:
            sources: dict[Any, _Worker] = {}
            for worker in self._workers:
                sources |= {worker.connection: worker, worker.process.sentinel: worker}
            readable = wait(list(sources), timeout) if sources else []
            for worker in {id(sources[each]): sources[each] for each in readable}.values():
                self._hear(worker)
        self._hand_out()
        happened, self._events = self._events, []
        return happened

    def stop(self) -> None:
        self._stopped = True
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send(None)
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for shard in self._waiting:
            self._events.append(Finished(shard, ShardRecord(shard.id, shard.kind, "stopped", shard.source, "")))
        self._waiting.clear()

    def _hand_out(self) -> None:
        while self._waiting and not self._stopped:
            worker = next((each for each in self._workers if each.shard is None), None)
            if worker is None:
                if len(self._workers) >= self.slots:
                    return
                worker = self._start()
            shard = self._waiting.popleft()
            worker.shard = shard
            with suppress(OSError):  # it has died; its end is heard in its turn
                worker.connection.send(shard)

    def _start(self) -> _Worker:
        context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._settings, self._threads), daemon=True)
        with SafeChildren(), ProgramNotImported(), interrupts_blocked():  # the parent alone decides what Ctrl-C means
            process.start()
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _hear(self, worker: _Worker) -> None:
        """Take in what a worker has to say, and its death."""
        try:
            while worker.connection.poll():
                message = worker.connection.recv()
                worker.ready, self._failed_starts = True, 0
                shard = worker.shard
                if shard is None or message is None:
                    continue
                if isinstance(message, Progress):
                    self._events.append(Advanced(shard, message))
                    continue
                worker.shard = None
                event = Raised(shard, message) if isinstance(message, Exception) else Finished(shard, message)
                self._events.append(event)
            if worker.process.is_alive():
                return
        except (EOFError, OSError):
            worker.process.join(PATIENCE)
        self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.kill()
        worker.process.join()
        code = worker.process.exitcode or 0
        reason = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                raise PromptcodecError(
                    f"{STARTS} worker processes in a row {reason} before they had begun; standard error has more"
                )
            if worker.shard is not None:
                self._waiting.appendleft(worker.shard)
                if self._stopped:  # by a signal that ended the worker too
                    self._drop_waiting()
        elif worker.shard is not None:
            self._events.append(WorkerDied(worker.shard, reason))


class _PipeControl:
    """A worker's control: its pipe to the job."""

    def __init__(self, connection: Connection, stopping: Flag) -> None:
        self._connection, self._stopping = connection, stopping
        self._pending, self._sent = Progress(), time.monotonic()

    def stopping(self) -> bool:
        return self._stopping.is_set()

    def advanced(self, progress: Progress) -> None:
        self._pending += progress
        if time.monotonic() - self._sent >= _INTERVAL:
            self._sent, pending, self._pending = time.monotonic(), self._pending, Progress()
            with suppress(OSError):  # the job is gone, which ``stopping`` tells
                self._connection.send(pending)


def _serve(connection: Connection, settings: Settings, threads: int) -> None:
    """A worker: takes shards until the pipe's other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from promptcodec.batch.process import process_shard
    from promptcodec.batch.runtime import prepare

    prepare(threads)
    shards: SimpleQueue[Shard | None] = SimpleQueue()
    stopping = Flag()
    Thread(target=_listen, args=(connection, shards, stopping), daemon=True).start()
    try:
        connection.send(None)
        while (shard := shards.get()) is not None:
            try:
                result: ShardRecord | Exception = process_shard(shard, settings, _PipeControl(connection, stopping))
            except PromptcodecError as error:
                result = type(error)(valid_unicode(str(error)))
            except Exception as error:
                result = PromptcodecError(f"unexpected {type(error).__name__}: {error}; please report it")
            connection.send(result)
    except OSError:  # the job is gone
        return


def _listen(connection: Connection, shards: SimpleQueue[Shard | None], stopping: Flag) -> None:
    """Take in shards and the sign to stop while the main thread codes."""
    try:
        while True:
            message = connection.recv()
            if message is None:
                stopping.set()
            else:
                shards.put(message)
    except (EOFError, OSError):
        stopping.set()
        shards.put(None)
