"""Independent parts of a layer on several threads, whose operators have no helpers: none waits for its slowest part."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch

_alone: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def torch_alone() -> Iterator[None]:
    """Run torch's operators on the calling thread and nothing else, for tools that count or record them."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def is_torch_alone() -> bool:
    """Return whether ``torch_alone`` holds here."""
    return _alone.get()


def each(count: int, work: Callable[[int], None]) -> None:
    """Run ``work(i)`` for each of ``count`` parts, on as many threads as torch has here. It must need no gradient."""
    threads = torch.get_num_threads()
    if threads == 1 or count == 1 or is_torch_alone():
        for part in range(count):
            work(part)
        return
    inference = torch.is_inference_mode_enabled()
    left, lock = iter(range(count)), threading.Lock()

    def take() -> None:
        with torch.inference_mode(inference), torch.no_grad():
            while True:
                with lock:
                    part = next(left, None)
                if part is None:
                    return
                work(part)

    for done in [_workers(threads, os.getpid()).submit(take) for _ in range(min(threads, count))]:
        done.result()


@lru_cache(maxsize=4)
def _workers(threads: int, process: int) -> ThreadPoolExecutor:
    """Return a pool for each process, since a fork leaves the threads behind."""
    ready = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, "promptcodec", _begin)
    for _ in range(threads):
        pool.submit(ready.wait)
    ready.wait()
    torch.set_num_threads(threads)  # the workers' one would be what new threads of the program begin with
    return pool


def _begin() -> None:
    torch.get_num_threads()  # a thread's first use of torch sets the process' number: that has to come before
    torch.set_num_threads(1)
