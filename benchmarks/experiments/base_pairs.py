"""Candidates for the next base, compared at equal processor seconds: which model, which start, which optimiser.

    python -m benchmarks.experiments.base_pairs cost grown linear --data train-00.tar   # with nothing else running
    python -m benchmarks.experiments.base_pairs run grown linear --data train-00.tar --validation VAL --validation KODAK
    python -m benchmarks.experiments.base_pairs table                  # writes the table of docs/training.md

Every candidate sees the same crops in the same order, as many as fill ``--seconds`` at the cost of a crop that is
measured first (by ``cost``, or as ``run`` begins); how busy the machine is later changes nothing.
Every run ends with a decay over the last quarter. What is measured is the moving average with real rounding.
A run that is cut goes on from its checkpoint. Of a validation set with more than 16 pictures every third one is taken.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.experiments.train_levers import CPU, OPTIMISERS, change_in_rate
from benchmarks.marked import replace_marked
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.build import build_data, build_optimiser, build_schedule, build_task
from promptcodec.train.data.pictures import load_pictures
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.run.checkpoint import load_checkpoint
from promptcodec.train.run.distributed import World
from promptcodec.train.training_run import Run
from promptcodec.train.validation import validate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "base-pairs.jsonl"
DOCS = ROOT / "docs" / "training.md"
CALIBRATION = 20  # steps: two of those in which SOAP renews its bases
SAVE_EVERY = 40  # steps

# Beyond the recipe's keys: `optimiser`.
CANDIDATES: dict[str, dict[str, Any]] = {
    "nano": {"model": "nano", "start": "nano"},
    "grown": {"model": "small", "start": "nano"},
    "grown-mlp": {"model": "small-mlp", "start": "nano"},
    "grown-no-gate": {"model": "small-no-gate", "start": "nano"},
    "grown-no-means": {"model": "small-no-means", "start": "nano"},
    "grown-soap": {"model": "small", "start": "nano", "optimiser": "soap"},
    "linear": {"model": "small-linear"},
    "linear-mlp": {"model": "small-linear-mlp"},
    "linear-no-means": {"model": "small-linear-no-means"},
}
TITLES = {
    "nano": "`nano` 0.5, continued",
    "grown": "**`nano` grown** (`small`): attention at 1/8 and 1/16, gated halves, gate, contextual means",
    "grown-mlp": "grown, plain feed-forward halves",
    "grown-no-gate": "grown, no gate on the shortcut",
    "grown-no-means": "grown, `nano`'s hyperprior",
    "grown-soap": "grown, SOAP instead of Adam",
    "linear": "attention all the way (`small-linear`), from the linear start",
    "linear-mlp": "from the linear start, plain feed-forward halves",
    "linear-no-means": "from the linear start, `nano`'s hyperprior",
}


def trainer_of(recipe: Recipe, folder: Path, optimiser: str) -> Trainer:
    """A trainer at its first step, or at its checkpoint."""
    task = build_task(recipe, CPU, say=_silent)
    trainer = Trainer(
        task,
        build_data(recipe, CPU, _silent),
        build_optimiser(recipe, task, OPTIMISERS[optimiser]),
        build_schedule(recipe),
        Run(recipe, folder, say=_silent),
        World(),
    )
    trainer.begin()
    return trainer


def _silent(_: str) -> None:
    pass


def candidate(name: str, arguments: argparse.Namespace) -> tuple[Recipe, Path, str]:
    """The recipe of a candidate, its folder and its optimiser."""
    changes = dict(CANDIDATES[name])
    optimiser = changes.pop("optimiser", "adam")
    recipe = read_recipe(
        {"data": arguments.data, "patch": 256, "batch": 16, "warmup": arguments.warmup, "decay": 0.0,
         "threads": 1, "watch": 0.0, "seed": arguments.seed} | changes,
        f"candidate {name}",
    )  # fmt: skip
    return recipe, arguments.work / f"{name}-{arguments.seed}", optimiser


def cost_of(recipe: Recipe, folder: Path, optimiser: str) -> float:
    """Processor seconds of a crop: measured, or what the folder says of it."""
    if not (folder / "cost.json").is_file():
        trainer = trainer_of(recipe, folder, optimiser)
        trainer.save()
        for _ in range(2):
            trainer.train_step()
        start = time.process_time()
        for _ in range(CALIBRATION):
            trainer.train_step()
        cost = (time.process_time() - start) / (CALIBRATION * recipe.batch)
        (folder / "cost.json").write_text(json.dumps({"cost": cost}))
    measured: float = json.loads((folder / "cost.json").read_text())["cost"]
    return measured


def cost(arguments: argparse.Namespace) -> None:
    """Measure what a crop costs each of the named candidates."""
    keep_large_blocks()
    for name in arguments.candidates:
        print(name, f"{1 / cost_of(*candidate(name, arguments)):.2f} crops a second", flush=True)


def run(arguments: argparse.Namespace) -> None:
    """Run the named candidates, one after the other."""
    keep_large_blocks()
    sets = {Path(source).name: load_pictures([source]) for source in arguments.validation}
    sets = {name: pictures[:: 3 if len(pictures) > 16 else 1] for name, pictures in sets.items()}
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.candidates:
        recipe, folder, optimiser = candidate(name, arguments)
        crops = int(arguments.seconds / cost_of(recipe, folder, optimiser))
        recipe = dataclasses.replace(recipe, samples=crops, decay=0.25)
        trainer = trainer_of(recipe, folder, optimiser)  # from the checkpoint before calibration, or a later one
        assert load_checkpoint(folder) is not None
        before, start = trainer.seconds, time.process_time()
        while trainer.samples < recipe.samples:
            trainer.train_step()
            trainer.seconds = before + time.process_time() - start
            if trainer.step % SAVE_EVERY == 0:
                trainer.save()
        trainer.save()
        row = {
            "candidate": name, "seed": arguments.seed, "seconds": arguments.seconds, "crops": trainer.samples,
            "cpu_seconds": round(trainer.seconds, 1),
            "rd": {source: validate(trainer.averaged(), pictures) for source, pictures in sets.items()},
        }  # fmt: skip
        with arguments.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


def table(arguments: argparse.Namespace) -> None:
    """Write the table: every candidate against the grown one of the same seed and seconds."""
    rows = [json.loads(line) for line in arguments.results.read_text().splitlines()]
    sets = list(rows[0]["rd"])
    lines = [
        f"| candidate | seed | processor seconds | crops of 256² | {' | '.join(f'rate on {name}' for name in sets)} |",
        "| --- " * (4 + len(sets)) + "|",
    ]
    grown = {(row["seed"], row["seconds"]): row for row in rows if row["candidate"] == "grown"}
    for row in sorted(rows, key=lambda row: (row["seconds"], list(CANDIDATES).index(row["candidate"]), row["seed"])):
        reference = grown.get((row["seed"], row["seconds"]))
        if reference is None:
            continue
        changes = [
            "0" if row is reference else f"{change_in_rate(reference['rd'][name], row['rd'][name]):+.1f} %"
            for name in sets
        ]
        cells = [TITLES[row["candidate"]], str(row["seed"]), f"{row['cpu_seconds']:,.0f}", f"{row['crops']:,}"]
        lines.append(f"| {' | '.join([*cells, *changes])} |")
    replace_marked(arguments.docs, "base-pairs", "\n".join(lines))


def main() -> None:
    """Parse the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS)
    verbs = parser.add_subparsers(required=True)
    costs = verbs.add_parser("cost")
    costs.set_defaults(do=cost)
    runs = verbs.add_parser("run")
    runs.set_defaults(do=run)
    for verb in (costs, runs):
        verb.add_argument("candidates", nargs="+", choices=list(CANDIDATES))
        verb.add_argument("--data", action="append", required=True)
        verb.add_argument("--warmup", type=int, default=1_000)
        verb.add_argument("--seed", type=int, default=42)
        verb.add_argument("--work", type=Path, default=ROOT / "runs" / "pairs")
    runs.add_argument("--validation", action="append", required=True)
    runs.add_argument("--seconds", type=float, default=3600)
    tables = verbs.add_parser("table")
    tables.set_defaults(do=table)
    tables.add_argument("--docs", type=Path, default=DOCS)
    arguments = parser.parse_args()
    arguments.do(arguments)


if __name__ == "__main__":
    main()
