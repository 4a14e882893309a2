"""Kill workers, machines and the driver of a batch at random, and prove that every picture has exactly one output.

    python -m benchmarks.trust.batch_chaos PICTURES [--pictures 5000 --shards 50 --kills 20] [--docs]

A Ray cluster of several nodes runs on this machine, each node with its own raylet, and a stand-in for S3 on loopback
(moto; ``pip install 'moto[s3,server]' s3fs``). Small pictures are cut out of those in PICTURES, 3 % of them are broken,
and all go into tar shards in the store. ``batch.encode(..., engine="ray")`` codes them in a process of its own, the
driver. Whenever a certain number of shards is recorded, something is killed: a worker, a raylet (a new node follows) or
the driver (which is started again).

At the end the outputs are compared with what ``promptcodec encode`` makes of the same files, the manifest with the
outputs, and the list of failures with what was planted. Any difference is an error. Seeded.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.marked import replace_marked
from benchmarks.trust.small_cluster import BUCKET, Machines, get, keys, object_store
from promptcodec.evaluate.pages.page import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "batch_chaos.json"
PAGE = ROOT / "docs" / "batch-scale.md"
QUALITY = 40
BROKEN = 0.03
KINDS = ("worker", "raylet", "driver")
# The driver: as a user would write it.
DRIVER = f"""
import json, sys
import promptcodec.batch
if __name__ == "__main__":
    source, destination, address = sys.argv[1:]
    summary = promptcodec.batch.encode(source, destination, quality={QUALITY}, engine="ray", address=address)
    print(json.dumps({{"shards": summary.shards, "earlier": summary.earlier, "unfinished": summary.unfinished,
                      "failures": len(summary.failures), "deaths": summary.deaths, "stopped": summary.stopped}}))
"""


@dataclass
class Outcome:
    """What was done, and what was found at the end."""

    pictures: int
    shards: int
    broken: int
    nodes: int
    kills: dict[str, int] = field(default_factory=dict)
    drivers: int = 0
    worker_deaths: int = 0
    seconds: float = 0.0
    outputs: int = 0
    equal: int = 0
    failures: int = 0
    problems: list[str] = field(default_factory=list)


def make_pictures(sources: Path, folder: Path, count: int, seed: int) -> dict[str, str]:
    """Small JPEG files cut out of larger pictures, by name; what is wrong with those that are broken."""
    generator = random.Random(seed)
    paths = sorted(path for path in sources.rglob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    large = [Image.open(path).convert("RGB") for path in generator.sample(paths, min(len(paths), 20))]
    faults = {}
    planted = set(generator.sample(range(count), round(BROKEN * count)))
    for number in range(count):
        picture = generator.choice(large)
        width, height = (min(generator.randrange(64, 129), side) for side in picture.size)
        left, top = generator.randrange(picture.width - width + 1), generator.randrange(picture.height - height + 1)
        file = io.BytesIO()
        picture.crop((left, top, left + width, top + height)).save(file, "JPEG", quality=92)
        data, name = file.getvalue(), f"{number:06}.jpg"
        if number in planted:
            fault = generator.choice(["cut", "noise", "empty"])
            data = {"cut": data[: len(data) // 2], "noise": generator.randbytes(500), "empty": b""}[fault]
            faults[name] = fault
        (folder / name).write_bytes(data)
    return faults


def make_shards(folder: Path, into: Path, shards: int) -> None:
    """Tar files of all pictures, each with a caption beside it."""
    files = sorted(folder.iterdir())
    for shard in range(shards):
        with tarfile.open(into / f"shard-{shard:03}.tar", "w") as tar:
            for file in files[shard::shards]:
                for name, data in (
                    (file.name, file.read_bytes()),
                    (f"{file.stem}.txt", f"caption {file.stem}".encode()),
                ):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))


class Chaos:
    """The driver, and what is done to it and to the cluster."""

    def __init__(self, client: Any, machines: Machines, outcome: Outcome, seed: int, log: Path) -> None:
        self.client, self.machines, self.outcome, self.log = client, machines, outcome, log
        self.generator = random.Random(seed)

    def run(self, kills: int) -> None:
        """Until a driver ends by itself with all shards recorded."""
        # None among the last shards: workers that have nothing to do any more cannot be killed at it.
        at = sorted(self.generator.choices(range(self.outcome.shards * 9 // 10), k=kills))
        order = [KINDS[number % len(KINDS)] for number in range(kills)]
        self.generator.shuffle(order)
        driver = self._start()
        while True:
            recorded = len(keys(self.client, "coded/_promptcodec/shards/"))
            if order and recorded >= at[0]:
                time.sleep(self.generator.uniform(0, 3))  # anywhere within a shard
                if self._kill(order[0], driver):
                    print(f"{recorded} shards recorded: killed {order[0]}", flush=True)
                    self.outcome.kills[order[0]] = self.outcome.kills.get(order[0], 0) + 1
                    at.pop(0)
                    order.pop(0)
            if (code := driver.poll()) is not None:
                told = driver.stdout.read() if driver.stdout else ""
                if code == 0:
                    self.outcome.worker_deaths += json.loads(told.splitlines()[-1])["deaths"]
                    if order:
                        self.outcome.problems.append(f"the job ended before {', '.join(order)} could be killed")
                    return
                driver = self._start()
            time.sleep(0.3)

    def _start(self) -> subprocess.Popen[str]:
        self.outcome.drivers += 1
        command = [sys.executable, "-c", DRIVER, f"s3://{BUCKET}/source", f"s3://{BUCKET}/coded", self.machines.address]
        with self.log.open("a") as log:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)

    def _kill(self, kind: str, driver: subprocess.Popen[str]) -> bool:
        if kind == "driver":
            if driver.poll() is None:
                driver.kill()
                driver.wait()
            return True
        workers = self.machines.workers()
        if kind == "worker":
            if workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.generator.choice(workers), signal.SIGKILL)
            return bool(workers)
        self.machines.lose(self.generator.choice(self.machines.nodes))
        return True


def check(client: Any, folder: Path, faults: dict[str, str], outcome: Outcome) -> None:
    """Compare all outputs with ``promptcodec encode``'s, and the manifest with both."""
    problems = outcome.problems
    with tempfile.TemporaryDirectory() as coded:
        command = [
            sys.executable,
            "-m",
            "promptcodec",
            "encode",
            str(folder),
            "-o",
            coded,
            "-q",
            str(QUALITY),
            "-j",
            "2",
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        expected = {path.stem: path.read_bytes() for path in Path(coded).glob("*.ptc")}
    if len(expected) != outcome.pictures - len(faults):
        problems.append(f"promptcodec encode made {len(expected)} files of {outcome.pictures}")
    records = [json.loads(get(client, key)) for key in keys(client, "coded/_promptcodec/shards/")]
    by_output = {record["output"]: record for record in records}
    if len(by_output) != outcome.shards or len(records) != outcome.shards:
        problems.append(f"{len(records)} records of {outcome.shards} shards")
    seen: Counter[str] = Counter()
    for key in keys(client, "coded/"):
        name = key.removeprefix("coded/")
        if name.startswith("_promptcodec/"):
            continue
        data = get(client, key)
        record = by_output.pop(name, None)
        if record is None:
            problems.append(f"{name} is in no record")
            continue
        if hashlib.sha256(data).hexdigest() != record["sha256"] or len(data) != record["output_bytes"]:
            problems.append(f"{name} is not what its record says")
        check_shard(data, record, expected, seen, outcome)
    problems += [f"{name} is missing" for name in by_output]
    problems += [f"{name} has {count} outputs" for name, count in seen.items() if count != 1]
    problems += [f"{name} has no output" for name in expected if name not in seen]
    lines = [json.loads(line) for line in get(client, "coded/_promptcodec/failures.jsonl").splitlines()]
    listed = Counter(line["file"].rpartition("/")[2] for line in lines)
    outcome.failures, outcome.outputs = len(lines), seen.total()
    if listed != Counter(dict.fromkeys(faults, 1)):
        problems.append(f"the list of failures differs from what was planted: {sorted(set(listed) ^ set(faults))[:5]}")
    sums = {key: sum(record[key] for record in records) for key in ("pictures", "bytes_out", "carried")}
    failed = sum(len(record["failures"]) for record in records)
    if (sums["pictures"], failed, sums["bytes_out"]) != (len(expected), len(faults), sum(map(len, expected.values()))):
        problems.append(f"the manifest does not add up: {sums}, {failed} failures")


def check_shard(
    data: bytes, record: dict[str, Any], expected: dict[str, bytes], seen: Counter[str], outcome: Outcome
) -> None:
    """Compare the members of one output with what ``promptcodec encode`` makes of them."""
    pictures = 0
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            file = tar.extractfile(info)
            assert file is not None
            content, (stem, _, suffix) = file.read(), info.name.rpartition(".")
            if suffix == "ptc":
                pictures += 1
                seen[stem] += 1
                outcome.equal += content == expected.get(stem)
                if content != expected.get(stem):
                    outcome.problems.append(f"{info.name} differs from what promptcodec encode makes")
            elif content != f"caption {stem}".encode():
                outcome.problems.append(f"{info.name} has changed")
    if pictures != record["pictures"]:
        outcome.problems.append(f"{record['output']} has {pictures} pictures, its record says {record['pictures']}")


def run(sources: Path, pictures: int, shards: int, kills: int, nodes: int, seed: int) -> Outcome:
    """Make the pictures, cause the chaos, and look at what is left."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, object_store() as client:
        folder, tars = Path(scratch, "pictures"), Path(scratch, "shards")
        folder.mkdir()
        tars.mkdir()
        faults = make_pictures(sources, folder, pictures, seed)
        make_shards(folder, tars, shards)
        for path in sorted(tars.iterdir()):
            client.put_object(Bucket=BUCKET, Key=f"source/{path.name}", Body=path.read_bytes())
        outcome, machines = Outcome(pictures, shards, len(faults), nodes), Machines(nodes)
        log = Path(scratch, "drivers.log")
        try:
            Chaos(client, machines, outcome, seed, log).run(kills)
        finally:
            machines.close()
            if log.exists() and (text := log.read_text().strip()):
                print(text[-2000:], file=sys.stderr)
        check(client, folder, faults, outcome)
    outcome.seconds = round(time.monotonic() - begin, 1)
    return outcome


def page_table(found: dict[str, Any]) -> str:
    """The outcome for people."""
    kills = ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in sorted(found["kills"].items()))
    rows = [
        ["pictures, in shards, of them broken", f"{found['pictures']:,}, {found['shards']}, {found['broken']}"],
        ["nodes of the cluster", str(found["nodes"])],
        ["killed", kills],
        ["drivers that it took", str(found["drivers"])],
        ["outputs, of them equal to `promptcodec encode`'s", f"{found['outputs']:,}, {found['equal']:,}"],
        ["failures in the list", str(found["failures"])],
        ["differences found", str(len(found["problems"]))],
    ]
    return table(["", ""], rows)


def main() -> int:
    """Run, store and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="?", help="folder of pictures of at least 128 pixels a side")
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--shards", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", action="store_true", help="write the stored outcome into docs/batch-scale.md alone")
    options = parser.parse_args()
    if not options.docs:
        if options.sources is None:
            parser.error("a folder of pictures is needed")
        outcome = run(options.sources, options.pictures, options.shards, options.kills, options.nodes, options.seed)
        RESULTS.write_text(json.dumps(asdict(outcome), indent=1) + "\n")
        print(json.dumps(asdict(outcome)))
    found = json.loads(RESULTS.read_text())
    replace_marked(PAGE, "chaos", page_table(found))
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
