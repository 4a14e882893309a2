"""Compare the engines of a batch on the same pictures, and watch the memory of the workers.

    python -m benchmarks.speed.batch_overhead PICTURES [--pictures 600 --repeats 3 --level 5000] [--docs]

Small pictures, so that what an engine costs shows, cut out of those in PICTURES, are encoded by two workers of one
thread each: by ``promptcodec encode -j 2``, with ``--engine local`` and with ``--engine ray`` on a cluster of this
machine alone, in turns; at last ``--level`` of them with ``--engine ray``, for the memory. Pictures a second count from
the end of the first shard (or picture) to that of the last, without the start, which is given by itself. *Busy* is the
share of that time which workers spend on shards rather than waiting for the next: what another program takes of the
processor slows the shards, and leaves it as it is. Resident memory of the workers is read whenever a shard ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import promptcodec.batch
from benchmarks.marked import replace_marked
from benchmarks.trust.batch_chaos import make_pictures, make_shards
from promptcodec.batch.records import Progress, ShardRecord
from promptcodec.batch.work import Running
from promptcodec.evaluate.pages.page import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "batch_overhead.json"
PAGE = ROOT / "docs" / "batch-scale.md"
WORKERS = 2
ENGINES = ("encode", "local", "ray")


@dataclass
class Watch:
    """Ends of shards, in seconds from the begin, and the workers' memory then."""

    begin: float = field(default_factory=time.monotonic)
    ends: list[tuple[float, ShardRecord]] = field(default_factory=list)
    memory: dict[str, list[float]] = field(default_factory=dict)

    def begun(self, shards: int) -> None:
        """Note nothing."""

    def advanced(self, progress: Progress) -> None:
        """Note nothing."""

    def finished(self, record: ShardRecord) -> None:
        """Note a shard's end."""
        self.ends.append((time.monotonic() - self.begin, record))
        status = Path(f"/proc/{record.worker.rpartition(':')[2]}/status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        self.memory.setdefault(record.worker, []).append(int(kibibytes) / 1024)


@dataclass
class Run:
    """One run of one engine. ``first_mib``, ``last_mib``: of the largest worker after a tenth of its shards, and at
    the end."""

    engine: str
    pictures: int
    a_second: float
    busy: float
    start_s: float
    first_mib: float
    last_mib: float


def measure(engine: str, source: Path) -> Run:
    """Encode all shards of a folder into a new one."""
    with tempfile.TemporaryDirectory() as destination:
        watch = Watch()
        summary = promptcodec.batch.encode(
            source, destination, running=Running(engine=engine, workers=WORKERS, watcher=watch)
        )
    assert not summary.unfinished and not summary.deaths, summary
    first, last = watch.ends[0], watch.ends[-1]
    seconds = last[0] - first[0]
    later = [record for _, record in watch.ends[1:]]
    memory = max(watch.memory.values(), key=lambda each: each[-1])
    return Run(
        engine, summary.progress.pictures, sum(record.pictures for record in later) / seconds, busy_share(watch.ends),
        first[0] - first[1].seconds, memory[len(memory) // 10], memory[-1],
    )  # fmt: skip


def measure_encode(folder: Path) -> Run:
    """Encode the pictures of a folder with ``promptcodec encode``, of which neither memory nor waiting is known."""
    with tempfile.TemporaryDirectory() as destination:
        command = [sys.executable, "-m", "promptcodec", "encode", str(folder), "-o", destination, "-j", str(WORKERS)]
        begin, ends = time.monotonic(), []
        with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            for line in process.stdout or ():
                if json.loads(line)["status"] == "done":
                    ends.append(time.monotonic() - begin)
    return Run("encode", len(ends), (len(ends) - 1) / (ends[-1] - ends[0]), 0.0, ends[0], 0.0, 0.0)


def busy_share(ends: list[tuple[float, ShardRecord]]) -> float:
    """The share of the time between the ends of a worker's shards in which it worked on one."""
    working = between = 0.0
    before: dict[str, float] = {}
    for end, record in ends:
        if record.worker in before:
            working += record.seconds
            between += end - before[record.worker]
        before[record.worker] = end
    return working / between


def page_table(runs: list[dict[str, Any]]) -> str:
    """Medians over the turns of each engine, and the long run; what each turn was of local's of the same turn."""
    *turns, level = runs
    head = [
        "engine",
        "pictures",
        "a second",
        "of local's, turn by turn",
        "busy",
        "start, seconds",
        "MiB early",
        "MiB at the end",
    ]
    numbers = [key for key in runs[0] if key != "engine"]
    medians = {
        engine: {key: statistics.median(run[key] for run in turns if run["engine"] == engine) for key in numbers}
        for engine in ENGINES
    } | {"ray, for long": level}
    speeds = {engine: [run["a_second"] for run in turns if run["engine"] == engine] for engine in ENGINES}
    shares = {
        engine: ", ".join(f"{100 * own / local:.0f}" for own, local in zip(each, speeds["local"], strict=True)) + " %"
        for engine, each in speeds.items()
    }
    body = [
        [engine, f"{m['pictures']:,.0f}", f"{m['a_second']:.1f}", shares.get(engine, ""),
         *([f"{100 * m['busy']:.1f} %", f"{m['start_s']:.1f}", f"{m['first_mib']:.0f}", f"{m['last_mib']:.0f}"]
           if m["busy"] else ["", f"{m['start_s']:.1f}", "", ""])]
        for engine, m in medians.items()
    ]  # fmt: skip
    return table(head, body)


def main() -> None:
    """Measure, store and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="?", help="folder of pictures of at least 128 pixels a side")
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--shards", type=int, default=40)
    parser.add_argument("--level", type=int, default=5000, help="pictures of the run that watches memory")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--docs", action="store_true", help="write the stored results into docs/batch-scale.md alone")
    options = parser.parse_args()
    if not options.docs:
        if options.sources is None:
            parser.error("a folder of pictures is needed")
        runs = []
        with tempfile.TemporaryDirectory() as scratch:
            folder, shards = Path(scratch, "pictures"), Path(scratch, "shards")
            folder.mkdir()
            shards.mkdir()
            make_pictures(options.sources, folder, options.pictures, 0)
            make_shards(folder, shards, options.shards)
            for _ in range(options.repeats):
                for engine in ENGINES:
                    run = measure_encode(folder) if engine == "encode" else measure(engine, shards)
                    runs.append(asdict(run))
                    print(json.dumps(runs[-1]), flush=True)
            folder, shards = Path(scratch, "more pictures"), Path(scratch, "more shards")
            folder.mkdir()
            shards.mkdir()
            make_pictures(options.sources, folder, options.level, 0)
            make_shards(folder, shards, options.shards)
            runs.append(asdict(measure("ray", shards)))
            print(json.dumps(runs[-1]), flush=True)
        RESULTS.write_text(json.dumps(runs, indent=1) + "\n")
    replace_marked(PAGE, "overhead", page_table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
