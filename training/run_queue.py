"""Go through the open runs of the queue until time is up: continue the first, mark what became of it, do the next.

    python training/run_queue.py --data shards/ --max-seconds 1500
    torchrun --standalone --nproc-per-node=8 training/run_queue.py --data shards/

Every session of a run leaves a row in LEDGER.md beside the queue. A run that lacks something, or cannot be begun, is
left for later, with a word about it; one that diverges more often than its recipe allows is marked `diverged`, and the
queue goes on. `--with KEY=VALUE` changes values of every recipe, as with `promptcodec train`.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import ledger
from queue_file import DIVERGED, DONE, QueuedRun, mark, ready_run

from promptcodec.errors import DivergenceError, PromptcodecError, UsageError
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.build import build_trainer
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe_file import merge_values, parse_changes
from promptcodec.train.results import save_results
from promptcodec.train.run.distributed import World
from promptcodec.train.run.progress import line

ROOT = Path(__file__).resolve().parents[1]


def run_queue(
    queue: Path,
    runs: Path,
    overrides: dict[str, Any],
    portable: Path | None = None,
    max_seconds: float = math.inf,
    version: str = "0",
) -> None:
    """Train the runs of ``queue``, each in its folder of ``runs``.

    ``overrides`` replace values of all recipes. ``portable``: a folder for copies that travel, one folder a run. Raises
    UsageError where there are open runs, and none of them can be begun.
    """
    world, end = World.join(), time.monotonic() + max_seconds
    printed, failed = set[str](), dict[str, str]()
    trained = False
    while time.monotonic() < end:
        run, waiting = world.from_leader(ready_run(queue, runs, overrides, failed) if world.leads else None)
        for reason in (reason for reason in [*failed.values(), *waiting] if reason not in printed):
            if world.leads:
                print(f"left for later: {reason}", flush=True)
            printed.add(reason)
        if run is None:
            if failed and not trained:
                raise UsageError(f"no open run of {queue} can be done: {next(iter(failed.values()))}")
            print(f"the queue is done{', but for what is left for later' if failed or waiting else ''}")
            return
        try:
            trainer = _begin(run, runs, overrides, portable, world)
        except PromptcodecError as error:
            failed[run.name] = f"run {run.name} cannot be begun: {error}"
            continue
        try:
            if not _train(trainer, run, queue, end, version):
                return
            trained = True
        except PromptcodecError as error:
            if world.size > 1:  # the others may be waiting for this one
                raise
            failed[run.name] = f"run {run.name} failed: {error}"


def _begin(run: QueuedRun, runs: Path, overrides: dict[str, Any], portable: Path | None, world: World) -> Trainer:
    """Build a run's trainer and begin. Raises PromptcodecError in all processes if in any."""
    error: PromptcodecError | None = None
    try:
        copy = portable / run.name if portable else None
        trainer = build_trainer(run.load(runs, overrides), runs / run.name, copy, world)
        trainer.run.say(f"{run.name}: {trainer.begin()}")
    except PromptcodecError as raised:
        error = raised
    if any(world.any(error is not None)):
        raise error or UsageError("another process cannot begin it")
    return trainer


def _train(trainer: Trainer, run: QueuedRun, queue: Path, end: float, version: str) -> bool:
    """Continue a run, and record it; returns whether it is over, so that the next one may begin."""
    world, diverged = trainer.world, False
    allowed = 60 * run.minutes if run.minutes else math.inf
    before = (trainer.seconds, trainer.samples)
    left = world.from_leader(min(end - time.monotonic(), allowed - trainer.seconds))
    try:
        trainer.train(left, lambda row: print(line(row), flush=True))
    except DivergenceError as error:  # in all processes at once
        diverged = True
        trainer.run.say(f"{run.name}: {error}")
    done = trainer.samples >= trainer.schedule.samples or trainer.seconds >= allowed - 1
    done = world.from_leader(done) and not diverged
    if world.leads:
        if not diverged:
            files = save_results(trainer, version)
            print(f"{', '.join(map(str, files))}: {trainer.samples:,} samples", flush=True)
        ledger.add_row(queue.parent / "LEDGER.md", _row(queue, run, trainer, before, diverged))
        if done or diverged:
            mark(queue, run.name, DIVERGED if diverged else DONE)
    return bool(done or diverged)


def _row(queue: Path, run: QueuedRun, trainer: Trainer, before: tuple[float, int], diverged: bool) -> dict[str, Any]:
    """What the ledger says of a session; ``before``: seconds and samples when it began."""
    curve = ", ".join(f"{row['bpp']:.3f} bpp {row['psnr']:.2f} dB" for row in trainer.validation)
    return {
        "date": ledger.today(), "run": run.name, "recipe": run.recipe.name, "commit": ledger.commit(queue.parent),
        "hardware": ledger.hardware(trainer.device, trainer.world.size),
        "minutes": f"{(trainer.seconds - before[0]) / 60:.1f}", "samples": f"{before[1]:,} to {trainer.samples:,}",
        "validation": "diverged" if diverged else curve or "–", "weights": f"{trainer.run.folder}",
    }  # fmt: skip


def main() -> int:
    """Parse the command line and go through the queue."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queue", type=Path, default=ROOT / "training" / "queue.toml")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"), help="folder of the runs' folders")
    parser.add_argument("--data", action="append", default=[], help="folder or tar file of pictures")
    parser.add_argument("--device", default="", help="cpu, cuda or mps; the recipes' own if not given")
    parser.add_argument("--max-seconds", type=float, default=math.inf, help="stop, with a checkpoint, after this time")
    parser.add_argument(
        "--with", dest="changes", action="append", default=[], help="KEY=VALUE in place of the recipes'"
    )
    parser.add_argument("--portable", type=Path, help="folder for copies that travel")
    parser.add_argument("--model-version", default="0", help="version written into model files")
    arguments = parser.parse_args()
    keep_large_blocks()
    options = {key: value for key in ("data", "device") if (value := getattr(arguments, key))}
    try:
        overrides = merge_values(parse_changes(arguments.changes), options)
        run_queue(
            arguments.queue, arguments.output, overrides, arguments.portable, arguments.max_seconds,
            arguments.model_version,
        )  # fmt: skip
    except PromptcodecError as error:
        print(f"run_queue: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
