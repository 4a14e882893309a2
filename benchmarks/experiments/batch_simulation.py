"""Simulate a batch on a cluster whose machines differ and vanish, and write how shards of several sizes fare.

    python -m benchmarks.experiments.batch_simulation [--pictures 100_000_000 --machines 100 --cores 16] [--docs]

A discrete-event simulation of what ``promptcodec batch --engine ray`` does: every core has an actor, an actor has one
shard at a time, a shard whose machine vanishes is handed out again, and one that has lost its worker twice as often as
``MOST_DEATHS`` says is tried in halves, and in halves of those, before it is done as a whole. Nothing is tried twice at
once. A machine's loss takes all of its actors; it comes back after a while. Seconds a picture differ from shard to
shard (log-normal) and machine to machine (stragglers). Seeded: the same command prints the same table.
"""

from __future__ import annotations

import argparse
import heapq
import json
import statistics
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from benchmarks.marked import replace_marked
from promptcodec.batch.manifest import READERS
from promptcodec.batch.records import Failure, ShardRecord, WrittenFile
from promptcodec.batch.shards import CHUNK
from promptcodec.batch.suspects import MOST_DEATHS
from promptcodec.evaluate.pages.page import table
from promptcodec.system.printable import json_text

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "batch_simulation.json"
PAGE = ROOT / "docs" / "batch-scale.md"
HOUR = 3600.0
SHARDS = (300, 1_000, 3_000, 10_000)


@dataclass(frozen=True)
class Cluster:
    """Machines and the work for them. Times in seconds; ``lost_every``: mean time between losses of one machine."""

    pictures: int = 100_000_000
    machines: int = 100
    cores: int = 16
    a_picture: float = 0.3
    spread: float = 0.2  # standard deviation of the logarithm of a shard's seconds a picture
    stragglers: float = 0.0  # share of the machines
    slowness: float = 3.0  # of a straggler
    lost_every: float = float("inf")
    away: float = 300.0
    start: float = 15.0  # of an actor, until it has loaded the model
    hand_over: float = 0.01  # from the end of a shard to the next one's beginning


SCENARIOS = {
    "all alike": Cluster(),
    "5 % of the machines 3 times slower": Cluster(stragglers=0.05),
    "each machine lost every 10 h": Cluster(lost_every=10 * HOUR),
    "both": Cluster(stragglers=0.05, lost_every=10 * HOUR),
    "both, lost every hour": Cluster(stragglers=0.05, lost_every=HOUR),
}


@dataclass
class Outcome:
    """``hours``: from begin to end. ``ideal``: where no machine is slow or lost, and nothing is done twice. ``again``:
    share of the time of all actors that went into what was lost, or only tried. ``tail``: hours from the first actor
    without work to the end. ``lost``: machines."""

    hours: float
    ideal: float
    again: float
    tail: float
    lost: int
    divided: int


@dataclass
class Shard:
    """``seconds`` on a machine that is not slow. ``trials``: of its parts, that are still to end."""

    seconds: float
    deaths: int = 0
    trials: int = 0


@dataclass
class Attempt:
    """Work on a shard, or with ``share`` below 1 a trial of a part of it, that writes nothing."""

    shard: Shard
    share: float = 1.0
    deaths: int = 0

    @property
    def trial(self) -> bool:
        return self.share < 1


class Simulation:
    """One run of one cluster."""

    def __init__(self, cluster: Cluster, shard_size: int, seed: int) -> None:
        self.cluster, self.random = cluster, np.random.default_rng(seed)
        count = -(-cluster.pictures // shard_size)
        factors = self.random.lognormal(-(cluster.spread**2) / 2, cluster.spread, count)
        sizes = np.full(count, float(shard_size))
        sizes[-1] = cluster.pictures - shard_size * (count - 1)
        self.work = sizes * factors * cluster.a_picture
        self.waiting = deque(Attempt(Shard(float(seconds))) for seconds in self.work)
        self.left = count
        slow = self.random.permutation(cluster.machines) < round(cluster.stragglers * cluster.machines)
        self.pace = np.where(slow, cluster.slowness, 1.0)
        self.events: list[tuple[float, int, str, int, int]] = []
        self.number = 0
        self.life = [0] * cluster.machines  # how often a machine has come back
        self.busy: dict[tuple[int, int], tuple[Attempt, float]] = {}
        self.idle: list[tuple[int, int]] = []
        self.now = self.wasted = self.occupied = 0.0
        self.first_idle = float("inf")
        self.lost = self.divided = 0

    def run(self) -> Outcome:
        """Until every shard is done."""
        for machine in range(self.cluster.machines):
            self._up(machine)
        while self.left:
            self.now, _, kind, place, life = heapq.heappop(self.events)
            machine = place // self.cluster.cores if kind in ("free", "end") else place
            if kind == "up":
                self._up(machine)
            elif life != self.life[machine]:
                continue  # of a machine that has been lost since
            elif kind == "down":
                self._down(machine)
            else:
                self._free(machine, place % self.cluster.cores, kind == "end")
        ideal = self.work.sum() / (self.cluster.machines * self.cluster.cores)
        return Outcome(
            self.now / HOUR, ideal / HOUR, self.wasted / (self.wasted + self.occupied),
            max(self.now - self.first_idle, 0) / HOUR, self.lost, self.divided,
        )  # fmt: skip

    def _at(self, delay: float, kind: str, place: int, life: int) -> None:
        self.number += 1
        heapq.heappush(self.events, (self.now + delay, self.number, kind, place, life))

    def _up(self, machine: int) -> None:
        for core in range(self.cluster.cores):
            self._at(self.cluster.start, "free", machine * self.cluster.cores + core, self.life[machine])
        if np.isfinite(self.cluster.lost_every):
            self._at(self.random.exponential(self.cluster.lost_every), "down", machine, self.life[machine])

    def _down(self, machine: int) -> None:
        self.lost += 1
        self.life[machine] += 1
        self.idle = [place for place in self.idle if place[0] != machine]
        for core in range(self.cluster.cores):
            if (machine, core) in self.busy:
                attempt, begun = self.busy.pop((machine, core))
                self.wasted += self.now - begun
                self._died(attempt)
        self._at(self.random.exponential(self.cluster.away), "up", machine, 0)
        self._wake()

    def _died(self, attempt: Attempt) -> None:
        attempt.deaths += 1
        if attempt.deaths < MOST_DEATHS:
            self.waiting.appendleft(attempt)
            return
        self.divided += 1
        attempt.shard.trials += 2 - attempt.trial
        self.waiting.extendleft(Attempt(attempt.shard, attempt.share / 2) for _ in range(2))

    def _free(self, machine: int, core: int, ended: bool) -> None:
        if ended:
            attempt, begun = self.busy.pop((machine, core))
            if not attempt.trial:
                self.occupied += self.now - begun
                self.left -= 1
            else:
                self.wasted += self.now - begun
                attempt.shard.trials -= 1
                if not attempt.shard.trials:
                    self.waiting.appendleft(Attempt(attempt.shard))
        self.idle.append((machine, core))
        self._wake()

    def _wake(self) -> None:
        while self.waiting and self.idle:
            (machine, core), attempt = self.idle.pop(), self.waiting.popleft()
            self.busy[machine, core] = attempt, self.now
            seconds = attempt.shard.seconds * attempt.share * self.pace[machine] + self.cluster.hand_over
            self._at(seconds, "end", machine * self.cluster.cores + core, self.life[machine])
        if self.idle:
            self.first_idle = min(self.first_idle, self.now)
        else:
            self.first_idle = float("inf")


def rows(base: Cluster, seeds: int) -> list[dict[str, object]]:
    """A row for each scenario and size of shards: means over the seeds, and the slowest run."""
    found: list[dict[str, object]] = []
    for name, scenario in SCENARIOS.items():
        cluster = replace(
            scenario, pictures=base.pictures, machines=base.machines, cores=base.cores, a_picture=base.a_picture
        )
        for size in SHARDS:
            outcomes = [Simulation(cluster, size, seed).run() for seed in range(seeds)]
            mean = {key: statistics.fmean(asdict(each)[key] for each in outcomes) for key in asdict(outcomes[0])}
            found.append({"scenario": name, "shard": size, "slowest_hours": max(each.hours for each in outcomes),
                          **{key: round(value, 4) for key, value in mean.items()}})  # fmt: skip
            print(json.dumps(found[-1]), flush=True)
    return found


def page_table(content: dict[str, object]) -> str:
    """The rows for people."""
    head = ["machines", "pictures a shard", "hours", "slowest", "of them the tail", "done in vain", "divided"]
    body = [
        [str(r["scenario"]), f"{r['shard']:,}", f"{r['hours']:.2f}", f"{r['slowest_hours']:.2f}", f"{r['tail']:.2f}",
         f"{100 * r['again']:.2f} %", f"{r['divided']:.0f}"]
        for r in content["rows"]  # type: ignore[attr-defined]
    ]  # fmt: skip
    return table(head, body)


LISTED = 1_000  # names in an answer of an object store
ANSWER = 0.02  # seconds that a small request takes


def record_bytes(kind: Literal["tar", "files"], pictures: int) -> int:
    """Size of the record of a shard of which one picture in a thousand fails."""
    digest, name = "0" * 64, "s3://bucket/photos/part-00000/000000000000"
    failures = tuple(Failure(f"{name}.jpg", "x" * 60, n) for n in range(pictures // 1000))
    files = tuple(WrittenFile(f"{name}.jpg", "part-00000/000000000000.ptc", 40_000, digest) for _ in range(pictures))
    record = ShardRecord(
        "0" * 16, kind, "done", name, name, pictures, pictures * 500_000, pictures * 200_000, pictures * 40_000,
        output_bytes=pictures * 41_000, sha256=digest, files=files if kind == "files" else (), failures=failures,
        settings="0" * 16, fingerprint="0" * 33, seconds=300.0, worker="machine-000:10000",
    )  # fmt: skip
    return len(json_text(record.as_json()).encode())


def arithmetic(cluster: Cluster) -> str:
    """What a job of this size asks of the store and of the driver, for tar shards and for loose files."""
    seconds = cluster.pictures * cluster.a_picture / (cluster.machines * cluster.cores)
    layouts: list[tuple[str, Literal["tar", "files"], int]] = [
        *((f"tar shards of {size:,}", "tar", size) for size in SHARDS),
        (f"loose files, {CHUNK} a shard", "files", CHUNK),
    ]  # fmt: skip
    body = []
    for name, kind, size in layouts:
        records = -(-cluster.pictures // size)
        outputs = records if kind == "tar" else cluster.pictures
        manifest = records * record_bytes(kind, size)
        body.append([
            name, f"{records:,}", f"{manifest / 1e6:,.0f} MB", f"{-(-records // LISTED):,}",
            f"{records * ANSWER / READERS:,.0f} s", f"{-(-outputs // LISTED) * ANSWER:,.0f} s",
            f"{(outputs + records) / seconds:,.1f}", f"{records / seconds:,.2f}",
        ])  # fmt: skip
    head = ["layout", "records", "manifest", "requests to list it", "to read it", "to list the sources"]
    head += ["puts a second", "shards a second"]
    return table(head, body)


def main() -> None:
    """Simulate, store and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Cluster()
    parser.add_argument("--pictures", type=int, default=default.pictures)
    parser.add_argument("--machines", type=int, default=default.machines)
    parser.add_argument("--cores", type=int, default=default.cores)
    parser.add_argument("--a-picture", type=float, default=default.a_picture, help="seconds of one core")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--docs", action="store_true", help="write the stored results into docs/batch-scale.md alone")
    options = parser.parse_args()
    base = Cluster(options.pictures, options.machines, options.cores, options.a_picture)
    if not options.docs:
        content = {
            "pictures": base.pictures, "machines": base.machines, "cores": base.cores, "a_picture_s": base.a_picture,
            "seeds": options.seeds, "rows": rows(base, options.seeds),
        }  # fmt: skip
        RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    replace_marked(PAGE, "arithmetic", arithmetic(base))
    replace_marked(PAGE, "simulation", page_table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
