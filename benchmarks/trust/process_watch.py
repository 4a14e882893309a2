"""What the processes of a service take of memory (Linux), and the end of a worker now and then."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

KILL_EVERY = 15.0  # seconds


class Watcher:
    """Kills a worker now and then, and follows the memory of all processes of the service."""

    def __init__(self, process: int) -> None:
        self._process, self.killed = process, 0
        self.service, self.worker = 0.0, 0.0  # most MiB

    def run(self, until: float) -> None:
        next_kill = time.monotonic() + KILL_EVERY
        while time.monotonic() < until:
            workers = self.workers()
            self.service = max(self.service, _resident(self._process))
            self.worker = max(self.worker, *map(_resident, workers), 0.0)
            if time.monotonic() > next_kill and workers:
                with suppress(ProcessLookupError):
                    os.kill(random.choice(workers), signal.SIGKILL)
                    self.killed += 1
                next_kill += KILL_EVERY
            time.sleep(0.5)

    def workers(self) -> list[int]:
        with suppress(OSError):
            children = Path(f"/proc/{self._process}/task/{self._process}/children").read_text().split()
            return [int(c) for c in children if b"spawn_main" in _command(c)]
        return []


def _command(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _resident(process: int) -> float:
    """Memory in MiB, 0 where the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0.0
