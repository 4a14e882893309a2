"""What runs in a worker process: jobs, one after the other, until the service closes the connection."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from dataclasses import dataclass
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait

from promptcodec.errors import PromptcodecError
from promptcodec.serve.messages import Message, Operation, SourceNeededError, receive, send
from promptcodec.system.allocator import give_back, keep_large_blocks
from promptcodec.system.memory import is_lack_of_memory, resident_bytes


@dataclass(frozen=True)
class Worker:
    """How to set up a worker. ``kind``: "coding" or "measuring"; ``threads``: of a job, ``threads_alone``: of one that
    begins while the other workers of the kind are idle; ``nearby``: whether browsers are on this machine."""

    kind: str
    threads: int
    threads_alone: int
    memory: int
    max_pixels: int
    latent_memory: int
    nearby: bool


_KEPT_SHARE = 0.25  # of a worker's memory, above which what it has freed goes back to the system


class CancelledError(Exception):
    """Nobody waits for the answer any more."""


def main(connection: Connection, settings: Worker) -> None:
    """Answer jobs that come by ``connection``; the first message says whether this worker is ready."""
    # Before torch is imported. Threads that spin while they wait for others make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in (signal.SIGINT, signal.SIGTERM):  # the service decides when its workers end
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        operations = _prepared(settings)
    except Exception as error:
        traceback.print_exc()
        send(connection, Message({"error": type(error).__name__, "message": str(error)}))
        return
    send(connection, Message({"ready": os.getpid()}))
    while True:
        try:
            message = receive(connection)
        except (EOFError, OSError):
            return
        if "operation" in message.facts:  # else a cancellation that came too late
            send(connection, _answer(operations, message, connection))
            del message
            if resident_bytes() > _KEPT_SHARE * settings.memory:
                give_back()


def _prepared(settings: Worker) -> dict[str, Operation]:
    keep_large_blocks()
    import torch
    from PIL import Image

    from promptcodec.bitstream.container import MAX_PIXELS

    torch.set_num_threads(settings.threads)
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own; ``settings`` has ours
    if settings.kind == "coding":
        from promptcodec.serve.coding import Coding
        from promptcodec.serve.views import Views

        coding, views = Coding(settings.max_pixels), Views(settings.max_pixels, settings.latent_memory, settings.nearby)
        operations = coding.operations() | views.operations()
        _warm_up()
    else:
        from promptcodec.api import load
        from promptcodec.serve.measuring import Measuring

        operations = Measuring(settings.max_pixels, settings.nearby).operations()
        load()
        if hasattr(os, "nice"):
            os.nice(10)  # what moves under a slider comes first
    _limit_memory(settings.memory)
    return operations


def _warm_up() -> None:
    """Load the default model with its adapters, and what is imported when they are first used."""
    import numpy as np

    from promptcodec.api import load

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        codec = load()
        codec.decode(codec.encode(np.zeros((64, 64, 3), np.uint8)), look=1 if codec.adapters else None)


def _limit_memory(most: int) -> None:
    """Let allocations beyond ``most`` bytes fail, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _answer(operations: dict[str, Operation], message: Message, connection: Connection) -> Message:
    import torch

    facts, job = message.facts, message.facts["job"]
    torch.set_num_threads(facts["threads"])

    def check() -> None:
        while connection.poll():
            if receive(connection).facts.get("cancel") == job:
                raise CancelledError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = operations[facts["operation"]](facts["arguments"], dict(message.blobs), check)
        except Exception as error:
            return Message({"job": job} | _described(error))
    sentences = list(dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught))
    return Message({"job": job, "facts": answer.facts, "warnings": sentences}, answer.blobs)


def _described(error: Exception) -> dict[str, str]:
    """Return the name of the error's class and its sentence."""
    text = " ".join(str(error).split())
    if is_lack_of_memory(error):
        return {"error": "MemoryError", "message": "this takes more memory than a worker may use"}
    if not isinstance(error, (PromptcodecError, CancelledError, SourceNeededError)):
        traceback.print_exception(error, file=sys.stderr)
    return {"error": type(error).__name__, "message": text}


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
