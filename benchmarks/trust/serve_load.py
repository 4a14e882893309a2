"""Load on a service: many clients that send pictures and nonsense, go away, dawdle; and workers that are killed.

    python -m benchmarks.trust.serve_load [--seconds 120] [--clients 32]   # Linux
    python -m benchmarks.trust.serve_load --docs                           # the table in docs/serve.md

Runs ``promptcodec serve`` on a free port, and compares every file that it gives with the command line's. Writes
benchmarks/results/serve_load.json; its exit code is 1 where anything was not as designed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
from PIL import Image

from benchmarks.marked import replace_marked
from benchmarks.trust.process_watch import Watcher

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "serve_load.json"
PAGE = ROOT / "docs" / "serve.md"
OPTIONS = {
    "--workers": "2", "--max-queue": "16", "--max-upload": "1M", "--max-seconds": "20", "--max-wait": "20",
    "--idle-seconds": "2", "--picture-memory": "64M", "--max-pixels": "500000",
}  # fmt: skip
PARTS: list[tuple[tuple[int, int, int, int], dict[str, float]]] = [
    ((0, 0, 768, 512), {"quality": 50}), ((100, 50, 356, 306), {"quality": 20, "look": 1}),
    ((300, 100, 700, 400), {"quality": 85}), ((0, 200, 130, 420), {"quality": 5}),
    ((400, 0, 655, 255), {"quality": 60, "look": 0.5}), ((512, 256, 768, 512), {"quality": 40}),
]  # fmt: skip
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """A picture and options, with the command line's file, and the pixels that this one decodes to."""

    picture: bytes
    options: dict[str, float]
    file: bytes
    pixels: bytes


@dataclass
class Tally:
    """What was seen, by all clients together."""

    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of encodes that were answered
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, kind: str, status: int) -> None:
        with self.lock:
            self.answers[kind, status] += 1

    def fault(self, text: str) -> None:
        with self.lock:
            self.faults.append(text)


def make_samples(folder: Path) -> list[Sample]:
    """Parts of the README's photo, coded by the command line."""
    photo, samples = Image.open(ROOT / "examples" / "photo.jpg"), []
    for number, (box, options) in enumerate(PARTS):
        name = folder / f"{number}.png"
        photo.crop(box).save(name)
        _command_line("encode", name, *(text for key, value in options.items() for text in (f"--{key}", value)))
    _command_line("decode", *sorted(folder.glob("*.ptc")), "--format", "tiff")
    for number, (_, options) in enumerate(PARTS):
        name = folder / f"{number}.png"
        with Image.open(name.with_suffix(".tiff")) as image:
            pixels = np.asarray(image.convert("RGB")).tobytes()
        samples.append(Sample(name.read_bytes(), options, name.with_suffix(".ptc").read_bytes(), pixels))
    return samples


def _command_line(*arguments: object) -> None:
    command = [sys.executable, "-m", "promptcodec", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Client:
    """One client: again and again something that a client may do."""

    def __init__(self, port: int, samples: list[Sample], tally: Tally, seed: int) -> None:
        self._port, self._samples, self._tally, self._random = port, samples, tally, random.Random(seed)
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        self._actions: list[tuple[Callable[[], None], int]] = [
            (self.encode, 8), (self.decode, 4), (self.page, 3), (self.damaged, 3), (self.oversize, 2),
            (self.too_many_pixels, 1), (self.leaves, 3), (self.dawdles, 1),
        ]  # fmt: skip

    def run(self, until: float) -> None:
        actions, weights = zip(*self._actions, strict=True)
        while time.monotonic() < until:
            (action,) = self._random.choices(actions, weights)
            try:
                action()
            except Exception as error:
                self._tally.fault(f"{action.__name__}: {type(error).__name__}: {error}")
        self._http.close()

    def encode(self) -> None:
        sample, begin = self._random.choice(self._samples), time.perf_counter()
        answer = self._post("encode", "/encode", sample.picture, sample.options)
        if answer is not None:
            with self._tally.lock:
                self._tally.seconds.append(time.perf_counter() - begin)
            self._check("encode", answer.content == sample.file)

    def decode(self) -> None:
        sample = self._random.choice(self._samples)
        answer = self._post("decode", "/decode", sample.file, {})
        if answer is not None:
            with Image.open(io.BytesIO(answer.content)) as image:
                self._check("decode", np.asarray(image.convert("RGB")).tobytes() == sample.pixels)

    def page(self) -> None:
        """A picture of the page, and a few views of it, as a slider makes them."""
        sample = self._random.choice(self._samples)
        upload = self._post("page: upload", "/api/pictures", sample.picture, {})
        if upload is None:
            return
        token = upload.json()["token"]
        for sequence in range(3):
            body = json.dumps(sample.options | {"sequence": sequence}).encode()
            answer = self._post("page: view", f"/api/pictures/{token}/views", body, {}, others=(404,))
            if answer is not None:
                file = self._http.get(f"/api/views/{answer.json()['view']}/file")
                self._check("page: view", file.status_code == 404 or file.content == sample.file)
        if self._random.random() < 0.5:  # else it has to expire
            self._http.delete(f"/api/pictures/{token}")

    def damaged(self) -> None:
        sample = self._random.choice(self._samples)
        data = bytearray(sample.file)
        data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        self._post("damaged", "/decode", bytes(data[: self._random.randrange(1, len(data))]), {}, wanted=415)
        self._post("damaged", "/encode", self._random.randbytes(2000), {}, wanted=415)

    def oversize(self) -> None:
        self._post("oversize", "/encode", bytes(2_000_000), {}, wanted=413)

    def too_many_pixels(self) -> None:
        file = io.BytesIO()
        Image.new("L", (3000, 3000)).save(file, "PNG")
        self._post("too many pixels", "/encode", file.getvalue(), {}, wanted=413)

    def leaves(self) -> None:
        """Sends a request, or a part of it, and goes away."""
        sample = self._random.choice(self._samples)
        with socket.create_connection(("127.0.0.1", self._port)) as connection, suppress(OSError):
            connection.sendall(_head(len(sample.picture), "?effort=3"))
            connection.sendall(sample.picture[: self._random.choice([1000, len(sample.picture)])])
            time.sleep(self._random.random() / 2)
        self._tally.count("leaves", 0)

    def dawdles(self) -> None:
        """Sends a piece of the body, and then nothing."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=60) as connection:
            connection.sendall(_head(100_000, "") + b"abc")
            answer = connection.recv(4000)
        status = int(answer.split()[1]) if answer.startswith(b"HTTP/1.1 ") else 0
        self._tally.count("dawdles", status)
        self._check("dawdles", status in (408, 503))

    def _post(
        self, kind: str, path: str, content: bytes, params: dict[str, float], wanted: int = 200,
        others: tuple[int, ...] = (),
    ) -> httpx.Response | None:  # fmt: skip
        """The answer where it is the wanted one; others are counted, and checked for what they must have."""
        answer = self._http.post(path, content=content, params=params)
        self._tally.count(kind, answer.status_code)
        if answer.status_code == wanted:
            return answer
        if answer.status_code == 503:
            self._check(kind, "retry-after" in answer.headers)
            time.sleep(self._random.random())
        elif answer.status_code == 500:
            self._check(kind, answer.json()["type"] == "/problems/worker-ended")
        else:
            self._check(f"{kind} {answer.status_code} {answer.text[:200]}", answer.status_code in others)
        return None

    def _check(self, what: str, right: bool) -> None:
        if not right:
            self._tally.fault(f"{what}: not as expected")


def _head(length: int, query: str) -> bytes:
    return f"POST /encode{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


@contextmanager
def serving(log: IO[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A service that is ready, and its port; what it says of errors goes to ``log``."""
    flags = [text for pair in OPTIONS.items() for text in pair]
    command = [sys.executable, "-m", "promptcodec", "serve", "-p", "0", "--no-browser", "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout is not None
            port = json.loads(process.stdout.readline())["port"]
            while httpx.get(f"http://127.0.0.1:{port}/readyz").status_code != 200:
                time.sleep(0.2)
            yield process, port
        finally:
            process.kill()


def measure(clients: int, seconds: float) -> dict[str, Any]:
    """Run the load; returns what is stored."""
    with tempfile.TemporaryDirectory() as folder:
        samples = make_samples(Path(folder))
    tally = Tally()
    with tempfile.TemporaryFile("w+") as log, serving(log) as (process, port):
        until, watcher = time.monotonic() + seconds, Watcher(process.pid)
        work = [Client(port, samples, tally, seed).run for seed in range(clients)]
        threads = [threading.Thread(target=run, args=(until,)) for run in (*work, watcher.run)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alive = process.poll() is None
        answer = httpx.post(f"http://127.0.0.1:{port}/encode", content=samples[0].picture, timeout=120,
                            params=samples[0].options)  # fmt: skip
        process.send_signal(signal.SIGTERM)
        code = process.wait(120)
        log.seek(0)
        for line in log:
            if line.startswith("Traceback"):
                tally.fault("the service's log has a traceback")
    if not alive or code != 0 or answer.content != samples[0].file:
        tally.fault(f"the service ended: alive {alive}, exit code {code}, last answer {answer.status_code}")
    lost = sum(count for (_, status), count in tally.answers.items() if status == 500)
    if lost > watcher.killed:
        tally.fault(f"{lost} requests were lost with {watcher.killed} killed workers")
    slow = sorted(tally.seconds)
    return {
        "clients": clients, "seconds": seconds, "options": OPTIONS, "processors": os.cpu_count(),
        "answers": [{"request": kind, "status": status, "count": count}
                    for (kind, status), count in sorted(tally.answers.items())],
        "encode_seconds": {"median": round(slow[len(slow) // 2], 3), "p95": round(slow[int(0.95 * len(slow))], 3)},
        "workers_killed": watcher.killed, "requests_lost": lost, "service_mib": round(watcher.service),
        "worker_mib": round(watcher.worker), "exit_code": code, "faults": Counter(tally.faults),
    }  # fmt: skip


def write_table(results: dict[str, Any]) -> None:
    """Put the figures into docs/serve.md."""
    kinds = list(dict.fromkeys(row["request"] for row in results["answers"]))
    meanings = {0: "went away", 200: "done", 404: "expired", 408: "too slow", 413: "too large", 415: "damaged",
                500: "worker killed", 503: "busy", 504: "over time"}  # fmt: skip
    lines = [
        f"{results['clients']} clients for {results['seconds']:g} s, {results['options']['--workers']} workers and a "
        f"queue of {results['options']['--max-queue']} on a machine of {results['processors']} processors that had "
        f"other work too; {results['workers_killed']} workers were killed:", "",
        "| request | answers |", "| --- | --- |",
    ]  # fmt: skip
    for kind in kinds:
        rows = [row for row in results["answers"] if row["request"] == kind]
        texts = [f"{row['count']:,} {row['status'] or ''} {meanings[row['status']]}".replace("  ", " ") for row in rows]
        lines.append(f"| {kind} | {', '.join(texts)} |")
    faults = sum(results["faults"].values())
    seconds = results["encode_seconds"]
    lines += ["", f"Answers that were not as designed: {faults}. Requests lost with killed workers: "
              f"{results['requests_lost']}. Time of an encode with its wait: median {seconds['median']:.2f} s, 95 % "
              f"within {seconds['p95']:.2f} s. Most memory: {results['service_mib']} MiB in the service, "
              f"{results['worker_mib']} MiB in a worker. Exit code at the end: {results['exit_code']}."]  # fmt: skip
    replace_marked(PAGE, "load", "\n".join(lines))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--docs", action="store_true", help="write the table alone, from what is stored")
    arguments = parser.parse_args()
    if not arguments.docs:
        results = measure(arguments.clients, arguments.seconds)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    results = json.loads(RESULTS.read_text())
    print(json.dumps(results["faults"], indent=1))
    if PAGE.exists():
        write_table(results)
    return 1 if results["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
