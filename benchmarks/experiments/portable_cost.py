"""What it costs to go on from a portable checkpoint, whose optimiser's moments a second warm-up builds again.

    python -m benchmarks.experiments.portable_cost run --data train-00.tar --validation VAL [--seeds 3]
    python -m benchmarks.experiments.portable_cost table            # writes the table of docs/training.md

Each seed's run is cut after ``--before`` crops and goes on twice: from its checkpoint, and from the portable copy
(weights and average in two bytes each, no moments, a warm-up over the recipe's ``rewarm``), on the same crops at the
same rates with the same noise. Given is the change in rate at equal quality of the second against the first (BD-rate
of the moving average, positive is worse) after so many more crops. Results are kept, seed by seed, and continued.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.experiments.train_levers import DOCS, QUALITIES, ROOT, Bench, change_in_rate
from benchmarks.marked import replace_marked
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.validation import validate

RESULTS = ROOT / "benchmarks" / "results" / "portable-cost.jsonl"
AFTER = (80, 320, 960)  # crops since the cut


def one_seed(bench: Bench, seed: int, before: int) -> dict[str, list[Any]]:
    """RD rows at every point of AFTER, with the moments and without."""
    recipe = dataclasses.replace(bench.recipe, seed=seed)
    rows: dict[str, list[Any]] = {"moments": [], "portable": []}
    with tempfile.TemporaryDirectory() as name:
        whole, copy = Path(name) / "whole", Path(name) / "copy"
        trainer = bench.trainer(recipe, whole, portable=copy)
        while trainer.samples < before:
            trainer.train_step()
        trainer.save()
        for kind, folder, portable in (("moments", whole, None), ("portable", Path(name) / "elsewhere", copy)):
            trainer = bench.trainer(recipe, folder, portable=portable)
            assert trainer.samples == before
            assert (trainer.restarted is None) == (kind == "moments")
            for after in AFTER:
                while trainer.samples < before + after:
                    trainer.train_step()
                rows[kind].append(validate(trainer.averaged(), bench.validation, QUALITIES))
    return rows


def measure(arguments: argparse.Namespace) -> None:
    """Run the seeds that the results lack."""
    keep_large_blocks()
    recipe = read_recipe(
        {"model": "narrow", "data": arguments.data, "batch": 8, "warmup": 320, "decay": 0.0, "ema": 0.95,
         "rewarm": arguments.rewarm, "threads": 1, "watch": 0.0},
        "the run",
    )  # fmt: skip
    bench = Bench(recipe, arguments.validation)
    done = {row["seed"] for row in _rows(arguments.results)}
    for seed in sorted(set(range(arguments.seeds)) - done):
        head = {"seed": seed, "before": arguments.before, "after": AFTER, "rewarm": arguments.rewarm}
        row = head | {"torch": torch.__version__} | one_seed(bench, seed, arguments.before)
        with arguments.results.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(arguments: argparse.Namespace) -> None:
    """Write what was found into the documentation."""
    rows = _rows(arguments.results)
    lines = [
        f"`narrow`, cut after {rows[0]['before']:,} crops of 128² (batches of 8), a second warm-up over "
        f"{rows[0]['rewarm']}, {len(rows)} seeds:",
        "",
        "| crops after the cut | change in rate at equal PSNR | seed by seed |",
        "| --- | --- | --- |",
    ]
    for i, after in enumerate(rows[0]["after"]):
        percents = [change_in_rate(row["moments"][i], row["portable"][i]) for row in rows]
        error = statistics.stdev(percents) / math.sqrt(len(percents)) if len(percents) > 1 else math.nan
        each = ", ".join(f"{value:+.2f}" for value in percents)
        lines.append(f"| {after:,} | {statistics.mean(percents):+.2f} ± {error:.2f} % | {each} |")
    replace_marked(DOCS, "portable", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("run", "table"))
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--validation", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", type=int, default=960, help="crops before the cut")
    parser.add_argument("--rewarm", type=int, default=160, help="crops of the second warm-up")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    (measure if arguments.verb == "run" else table)(arguments)


if __name__ == "__main__":
    main()
