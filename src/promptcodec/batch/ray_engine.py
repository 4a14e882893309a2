"""The engine of a cluster: Ray actors, one a core or GPU, each with a codec of its own that stays loaded.

Ray starts the actors, tells of their deaths, and carries shards, which name pictures, and records of what became of
them. Pictures never go through it: an actor reads and writes them by itself. It has one shard at a time.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from promptcodec import __version__
from promptcodec.batch.engine import Advanced, Event, Finished, Raised, WorkerDied
from promptcodec.batch.ray_cluster import connected
from promptcodec.batch.records import Progress, ShardRecord
from promptcodec.batch.settings import EvalSettings, Settings
from promptcodec.batch.shards import Shard
from promptcodec.errors import PromptcodecError
from promptcodec.system.printable import valid_unicode

PATIENCE = 5.0  # seconds that workers have to drop what they do when the job ends
STARTS = 3  # of workers in vain, one after another
LOOK = 5.0  # seconds between looks at what the cluster has
TOLD = 1.0  # seconds between questions to a worker on how it gets on; of many workers, more
QUESTIONS = 200  # to workers, a second

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # in what Ray says

Call = Literal["begin", "code", "progress"]


@dataclass
class _Actor:
    handle: Any
    ready: bool = False
    shard: Shard | None = None
    last_question: float = 0.0
    question_pending: bool = False


class RayEngine:
    """Actors on a cluster, as many as it has cores (or GPUs, for a CUDA device), up to ``workers``.

    ``address``: as of ``ray_cluster.connected``. ``threads``: cores that each actor takes. ``gpus``: what of a GPU each
    takes, where the device is one: 0.25 for four that share it. An actor that dies is replaced.
    """

    def __init__(
        self, settings: Settings, workers: int | None = None, *, address: str | None = None, threads: int = 1,
        gpus: float = 1.0,
    ) -> None:  # fmt: skip
        self._settings, self._most, self._address = with_absolute_paths(settings), workers, address
        self._resource, self._each = "CPU", float(threads)
        if str(getattr(settings, "device", "cpu")).startswith("cuda"):
            self._resource, self._each = "GPU", gpus
        self._threads = threads
        self._actors: list[_Actor] = []
        self._calls: dict[Any, tuple[_Actor, Call]] = {}
        self._waiting: deque[Shard] = deque()
        self._events: list[Event] = []
        self._stopped = False
        self._failed_starts = 0
        self._room, self._looked = 1, float("-inf")
        self._stack = ExitStack()

    @property
    def slots(self) -> int:
        """How many actors the cluster has room for, at least 1."""
        return self._room

    def __enter__(self) -> RayEngine:
        cpus = self._threads * (self._most or len(os.sched_getaffinity(0)) // self._threads or 1)
        with ExitStack() as stack:
            self._ray = stack.enter_context(connected(self._address, cpus))
            self._actor_class = self._ray.remote(
                num_cpus=self._threads if self._resource == "CPU" else 0,
                num_gpus=self._each if self._resource == "GPU" else 0,
                max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1},
            )(_RayWorker)  # fmt: skip
            self._look()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        with self._stack:
            busy = {call: actor for call, (actor, kind) in self._calls.items() if kind == "code"}
            for actor in busy.values():
                self._tell(actor, "stop")
            if busy:
                with suppress(self._ray.exceptions.RayError):
                    self._ray.wait(list(busy), num_returns=len(busy), timeout=PATIENCE)
            for actor in self._actors:
                self._kill(actor)
            self._actors.clear()
            self._calls.clear()

    def submit(self, shard: Shard) -> None:
        self._waiting.append(shard)
        self._hand_out()

    def events(self, timeout: float) -> Sequence[Event]:
        self._look()
        self._question()
        self._hand_out()
        calls = list(self._calls)
        if calls:
            ready, _ = self._ray.wait(calls, timeout=0 if self._events else timeout)
            if ready:
                ready, _ = self._ray.wait(calls, num_returns=len(calls), timeout=0)
            for call in ready:
                self._hear(call)
        else:
            time.sleep(0 if self._events else timeout)
        self._hand_out()
        happened, self._events = self._events, []
        return happened

    def stop(self) -> None:
        self._stopped = True
        for actor in self._actors:
            self._tell(actor, "stop")
        for shard in self._waiting:
            self._events.append(Finished(shard, ShardRecord(shard.id, shard.kind, "stopped", shard.source, "")))
        self._waiting.clear()

    def _look(self) -> None:
        """See how many actors the cluster has room for: machines come and go."""
        if time.monotonic() - self._looked < LOOK:
            return
        self._looked = time.monotonic()
        room = int(self._ray.cluster_resources().get(self._resource, 0) / self._each + 1e-6)
        self._room = max(room if self._most is None else min(room, self._most), 1)

    def _hand_out(self) -> None:
        """Give waiting shards to actors that are free, and start actors for the others while there is room."""
        free = [actor for actor in self._actors if actor.ready and actor.shard is None]
        while self._waiting and free:
            actor = free.pop()
            actor.shard, actor.last_question = self._waiting.popleft(), time.monotonic()
            self._calls[actor.handle.code.remote(actor.shard)] = actor, "code"
        starting = sum(not actor.ready for actor in self._actors)
        for _ in range(min(len(self._waiting) - starting, self._room - len(self._actors))):
            actor = _Actor(self._actor_class.remote(self._settings, self._threads))
            self._actors.append(actor)
            self._calls[actor.handle.begin.remote()] = actor, "begin"

    def _question(self) -> None:
        """Ask actors how they get on."""
        now, every = time.monotonic(), max(TOLD, len(self._actors) / QUESTIONS)
        for actor in self._actors:
            if actor.shard is not None and not actor.question_pending and now - actor.last_question >= every:
                actor.last_question, actor.question_pending = now, True
                call = actor.handle.progress.options(concurrency_group="control").remote(actor.shard.id)
                self._calls[call] = actor, "progress"

    def _hear(self, call: Any) -> None:
        """Take in the answer to a call, or the death of its actor."""
        if call not in self._calls:  # of an actor that was found dead by another call
            return
        actor, kind = self._calls.pop(call)
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            self._bury(actor, error)
            return
        if kind == "begin":
            self._check(answer)
            actor.ready, self._failed_starts = True, 0
        elif kind == "progress":
            actor.question_pending = False
            if answer is not None and actor.shard is not None:
                self._events.append(Advanced(actor.shard, answer))
        else:
            shard, actor.shard = actor.shard, None
            assert shard is not None
            self._events.append(Raised(shard, answer) if isinstance(answer, Exception) else Finished(shard, answer))

    def _check(self, facts: tuple[str, str]) -> None:
        version, host = facts
        if version != __version__:
            raise PromptcodecError(
                f"promptcodec is {version} on {host} and {__version__} here: install the same release on "
                "all machines of the cluster"
            )

    def _bury(self, actor: _Actor, error: Exception) -> None:
        self._calls = {call: entry for call, entry in self._calls.items() if entry[0] is not actor}
        self._actors.remove(actor)
        self._kill(actor)  # also one that is only out of reach: what it still publishes is the same
        reason = _reason(error)
        if actor.shard is not None:
            self._events.append(WorkerDied(actor.shard, reason))
        elif not actor.ready and reason != LOST:
            self._failed_starts += 1
            if self._failed_starts >= STARTS:
                text = " ".join(_COLOURS.sub("", str(error)).split())
                raise PromptcodecError(
                    f"{STARTS} workers in a row {reason} before they had begun; is promptcodec installed on all "
                    f"machines of the cluster? Ray says: {text[-600:]}"
                ) from None

    def _tell(self, actor: _Actor, method: str) -> None:
        with suppress(self._ray.exceptions.RayError):
            getattr(actor.handle, method).options(concurrency_group="control").remote()

    def _kill(self, actor: _Actor) -> None:
        with suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor.handle)


LOST = "was lost with its machine"


def _reason(error: Exception) -> str:
    """Return how a worker ended, for people, from what Ray says of it."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "running low on memory" in text:
        return "was killed as its machine ran out of memory"
    return LOST if "node has died" in text or type(error).__name__ == "NodeDiedError" else "died"


def with_absolute_paths(settings: Settings) -> Settings:
    """Settings whose files are named from the root: workers have another working folder."""
    if isinstance(settings, EvalSettings):
        return settings if settings.networks is None else replace(settings, networks=_absolute(settings.networks))
    changes: dict[str, Any] = {"adapters": tuple(map(_absolute, settings.adapters))}  # type: ignore[attr-defined]
    if settings.model is not None:  # type: ignore[attr-defined]
        changes["model"] = _absolute(settings.model)  # type: ignore[attr-defined]
    if hasattr(settings, "maps"):
        changes["maps"] = tuple((name, _absolute(source)) for name, source in settings.maps)
    return replace(settings, **changes)  # type: ignore[type-var]


def _absolute(source: str) -> str:
    return str(Path(source).absolute()) if Path(source).exists() else source


class _RayWorker:
    """An actor: codes shards in one thread, and is told and asked in another. Also its shards' control."""

    def __init__(self, settings: Settings, threads: int) -> None:
        self._settings, self._threads = settings, threads
        self._stop, self._lock = False, Lock()
        self._shard, self._progress = "", Progress()

    def begin(self) -> tuple[str, str]:
        """Get ready to code. Returns the release, and the name of the machine."""
        from promptcodec.batch.runtime import prepare

        prepare(self._threads)
        return __version__, socket.gethostname()

    def code(self, shard: Shard) -> ShardRecord | Exception:
        """Code a shard. What would end the job is returned, not raised: Ray would wrap it."""
        from promptcodec.batch.process import process_shard

        with self._lock:
            self._shard, self._progress = shard.id, Progress()
        try:
            return process_shard(shard, self._settings, self)
        except PromptcodecError as error:
            return type(error)(valid_unicode(str(error)))
        except Exception as error:
            return PromptcodecError(f"unexpected {type(error).__name__}: {error}; please report it")

    def progress(self, shard: str) -> Progress | None:
        """Return what was done on this shard since the last call; None for nothing, or where it is at another now."""
        with self._lock:
            if shard != self._shard or self._progress == Progress():
                return None
            done, self._progress = self._progress, Progress()
            return done

    def stop(self) -> None:
        """Drop what is being done, before its next picture."""
        self._stop = True

    def stopping(self) -> bool:
        return self._stop

    def advanced(self, progress: Progress) -> None:
        with self._lock:
            self._progress += progress
