"""A service in a process of its own, as users have it: its command, on a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

SOURCE = Path(__file__).resolve().parents[1] / "src"
PATIENCE = 240.0  # seconds, for busy machines


@dataclass
class Running:
    """A service that runs, and a client for it."""

    process: subprocess.Popen[str]
    host: str
    port: int
    client: httpx.Client

    def problem(self, response: httpx.Response, status: int, kind: str) -> str:
        """Check that an answer is a problem of that kind; returns its sentence."""
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        document = response.json()
        assert document["type"] == f"/problems/{kind}" and document["status"] == status
        assert document["title"]
        assert str(SOURCE.parent) not in response.text
        return document["detail"]

    def workers(self) -> list[int]:
        """Process ids of the workers (Linux)."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(c) for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]

    def busiest_worker(self) -> int:
        """The worker that computes (Linux)."""
        before = {worker: _processor_time(worker) for worker in self.workers()}
        time.sleep(2)
        return max(before, key=lambda worker: _processor_time(worker) - before[worker])

    def metric(self, name: str) -> float:
        """A number of /metrics, summed over its labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split()[0] == name)

    def wait(self, reached) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert time.monotonic() < end, "it does not come about"
            time.sleep(0.05)


@contextmanager
def running(*options: str, folder: Path | None = None) -> Iterator[Running]:
    """Run ``promptcodec serve`` with further options until the block ends; its exit code must be 0."""
    command = [sys.executable, "-m", "promptcodec", "serve", "-p", "0", "--no-browser", "--json", *options]
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder)
    try:
        facts = json.loads(process.stdout.readline())
        with httpx.Client(base_url=f"http://127.0.0.1:{facts['port']}", timeout=PATIENCE) as client:
            service = Running(process, facts["host"], facts["port"], client)
            service.wait(lambda: client.get("/readyz").status_code == 200)
            yield service
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()


def _processor_time(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
