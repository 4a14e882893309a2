"""What a lever of training is worth: short runs with and without it, equal processor seconds, several seeds.

    python -m benchmarks.experiments.train_levers run --data train-00.tar --validation VAL [--seconds 20] [--seeds 3]
    python -m benchmarks.experiments.train_levers table                 # writes the table of docs/training.md

Every seed gives one run of the recipe as it is and one with each lever of LEVERS. What a crop costs under each lever
is measured first, in turns, and turned into the number of crops that fill the same seconds: so every schedule ends
where the run does, and runs repeat exactly. All read the same data, decoded once; starting up does not count. Results
go to a file of JSON lines that is continued, so a run of many minutes may be cut (``--stop-after``).

The result is the change in rate at equal quality (BD-rate, negative is better) of the moving average on the validation
pictures' centres, seed by seed against the plain run of that seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.marked import replace_marked
from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.build import build_optimiser, build_schedule, build_task
from promptcodec.train.data.pictures import PictureStore, load_pictures
from promptcodec.train.data.training_data import TrainingData
from promptcodec.train.loop import Trainer
from promptcodec.train.optimiser import Groups, MakeOptimiser, adam
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.run.distributed import World
from promptcodec.train.run.schedule import Schedule
from promptcodec.train.training_run import Run
from promptcodec.train.validation import validate

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "train-levers.jsonl"
DOCS = ROOT / "docs" / "training.md"
QUALITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
CPU = torch.device("cpu")
CENTRE = 256  # pixels a side of what is validated
CALIBRATION = 20  # steps
COSTLY = ("optimiser", "quantisation", "patch", "batch")  # the changes that a crop's cost depends on
PLAIN = "plain"
NO_AVERAGE = " without moving average"

# Beyond the recipe's keys: `optimiser`, `schedule`, and `first`, changes for the first `share` of the seconds.
LEVERS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "random start": {"linear_start": False},
    "SOAP": {"optimiser": "soap"},
    "SOAP, rate × 3": {"optimiser": "soap", "learning_rate": 3e-3},
    "Muon": {"optimiser": "muon"},
    "Adam, rate × 3": {"learning_rate": 3e-3},
    "Adam, β₂ 0.99": {"optimiser": "adam-0.99"},
    "Adam, β₂ 0.95": {"optimiser": "adam-0.95"},
    "stable, then decay over the last 20 %": {"decay": 0.2},
    "cosine to zero": {"schedule": "cosine"},
    "noise for the decoder too": {"quantisation": "noise"},
    "no clip": {"clip": 1e9},
    "256² crops": {"patch": 256, "batch": 2},
    "128² crops, then 256² for the last 30 %": {"first": {}, "share": 0.7, "patch": 256, "batch": 2},
}


def soap(groups: Groups) -> torch.optim.Optimizer:
    """SOAP (Vyas et al. 2024, arXiv 2409.11321), at its authors' settings."""
    from pytorch_optimizer import SOAP

    return SOAP(groups, betas=(0.95, 0.95), weight_decay=0.0, precondition_frequency=10, max_precondition_dim=512)


def muon(groups: Groups) -> torch.optim.Optimizer:
    """Muon (Jordan et al. 2024) on matrices and full convolutions, steps as long as Adam's (arXiv 2502.16982).

    Biases, depthwise filters and the shortcut stay with Adam.
    """
    from pytorch_optimizer import Muon

    first, *rest = groups
    matrices = [p for p in first["params"] if p.dim() >= 2 and p.shape[1] > 1]
    taken = {id(p) for p in matrices}
    others = first | {"params": [p for p in first["params"] if id(p) not in taken], "use_muon": False}
    return Muon(
        [first | {"params": matrices, "use_muon": True}, others, *(group | {"use_muon": False} for group in rest)],
        use_adjusted_lr=True,
        adamw_betas=(0.9, 0.999),
        adamw_eps=1e-8,
    )


OPTIMISERS: dict[str, MakeOptimiser] = {
    "adam": adam,
    "soap": soap,
    "muon": muon,
    "adam-0.99": lambda groups: torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True),
    "adam-0.95": lambda groups: torch.optim.Adam(groups, betas=(0.9, 0.95), fused=True),
}


class CosineSchedule(Schedule):
    """The recipe's warm-up, and half a cosine to zero."""

    def rate_factor(self, samples: int, restarted: int | None = None) -> float:
        """Share of the learning rate for the batch after ``samples``."""
        return super().rate_factor(samples, restarted) * 0.5 * (1 + math.cos(math.pi * samples / self.samples))


SCHEDULES: dict[str, type[Schedule]] = {"": Schedule, "cosine": CosineSchedule}


class Bench:
    """Data in memory, and runs on them."""

    def __init__(self, recipe: Recipe, validation: str) -> None:
        self.recipe = recipe
        self.store = PictureStore(recipe.data, 512, CPU, say=_silent)
        self.store.fill()
        self.validation = [_centre(picture) for picture in load_pictures([validation])]

    def trainer(
        self, recipe: Recipe, folder: Path, optimiser: str = "adam", schedule: str = "", portable: Path | None = None
    ) -> Trainer:
        """A trainer at its first step, or at its checkpoint, on the pictures in memory."""
        task = build_task(recipe, CPU, say=_silent)
        plan = build_schedule(recipe)
        trainer = Trainer(
            task,
            TrainingData(lambda state, samples: self.store, recipe.patch, recipe.min_scale, recipe.seed),
            build_optimiser(recipe, task, OPTIMISERS[optimiser]),
            SCHEDULES[schedule](**dataclasses.asdict(plan)),
            Run(recipe, folder, portable, say=_silent),
            World(),
        )
        trainer.begin()
        return trainer

    def costs(self) -> dict[str, float]:
        """Processor seconds of a crop under every lever; those that cost the same share a measurement."""
        kinds = {name: tuple((key, lever[key]) for key in COSTLY if key in lever) for name, lever in LEVERS.items()}
        rounds = [{kind: self._cost(dict(kind)) for kind in dict.fromkeys(kinds.values())} for _ in range(2)]
        return {name: round(min(each[kind] for each in rounds), 6) for name, kind in kinds.items()}

    def _cost(self, changes: dict[str, Any]) -> float:
        optimiser = changes.pop("optimiser", "adam")
        recipe = dataclasses.replace(self.recipe, **changes)
        with tempfile.TemporaryDirectory() as folder:
            trainer = self.trainer(recipe, Path(folder), optimiser)
            for _ in range(3):
                trainer.train_step()
            start = time.process_time()
            for _ in range(CALIBRATION):
                trainer.train_step()
        return (time.process_time() - start) / (CALIBRATION * recipe.batch)

    def run(self, lever: dict[str, Any], seed: int, seconds: float, cost: float, plain_cost: float) -> dict[str, Any]:
        """One run, measured."""
        changes = dict(lever)
        schedule, optimiser = changes.pop("schedule", ""), changes.pop("optimiser", "adam")
        first, share = changes.pop("first", None), changes.pop("share", 0.0)
        early = int(share * seconds / plain_cost)
        total = early + int((1 - share) * seconds / cost)
        common: dict[str, Any] = {"seed": seed, "samples": total}
        spent = 0.0
        with tempfile.TemporaryDirectory() as folder:
            parts = [] if first is None else [(dataclasses.replace(self.recipe, **common, **first), early)]
            for recipe, until in [*parts, (dataclasses.replace(self.recipe, **common | changes), total)]:
                trainer = self.trainer(recipe, Path(folder), optimiser, schedule)
                start = time.process_time()
                while trainer.samples < until:
                    trainer.train_step()
                spent += time.process_time() - start
                trainer.save()
        return {
            "samples": trainer.samples,
            "cpu_seconds": round(spent, 1),
            "rd": validate(trainer.averaged(), self.validation, QUALITIES),
            "rd_without_average": validate(trainer.task.model, self.validation, QUALITIES),
        }


def _silent(_: str) -> None:
    pass


def _centre(picture: Any) -> Any:
    top, left = ((n - CENTRE) // 2 for n in picture.shape[:2])
    return picture[top : top + CENTRE, left : left + CENTRE]


def change_in_rate(plain: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """BD-rate of ``other`` against ``plain`` in per cent; not a number where the curves share no quality."""
    curves = [[(row["bpp"], row["psnr"]) for row in rows] for rows in (other, plain)]
    percent = bd_rate(*curves).percent
    return math.nan if percent is None else percent


def measure(arguments: argparse.Namespace) -> None:
    """Run what the results lack."""
    keep_large_blocks()
    recipe = read_recipe(
        {"model": "narrow", "data": arguments.data, "batch": 8, "warmup": 800, "decay": 0.0, "ema": 0.98,
         "threads": 1, "watch": 0.0},
        "the plain run",
    )  # fmt: skip
    bench = Bench(recipe, arguments.validation)
    rows = _rows(arguments.results)
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    with arguments.results.open("a") as file:

        def record(row: dict[str, Any]) -> None:
            rows.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(row, flush=True)

        if not any("cost" in row for row in rows):
            cost = bench.costs()
            record({"seconds": arguments.seconds, "cost": cost, "torch": torch.__version__})
        (head,) = (row for row in rows if "cost" in row)
        done = {(row["seed"], row["lever"]) for row in rows if "lever" in row}
        for seed in range(arguments.seeds):
            for name, lever in LEVERS.items():
                if (seed, name) in done:
                    continue
                if time.process_time() - begun > arguments.stop_after:
                    print("cut: run it again for the rest")
                    return
                costs = head["cost"]
                cost = costs.get(name, costs[PLAIN])  # a lever of a later day, whose steps are the plain run's
                outcome = bench.run(lever, seed, head["seconds"], cost, costs[PLAIN])
                record({"seed": seed, "lever": name} | outcome)


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(arguments: argparse.Namespace) -> None:
    """Write the table of what was found into the documentation."""
    rows = _rows(arguments.results)
    (head,) = (row for row in rows if "cost" in row)
    runs = {(row["seed"], row["lever"]): row for row in rows if "lever" in row}
    lines = [
        f"{head['seconds']:g} processor seconds a run, torch {head['torch']}; "
        f"the plain run is Adam at 1e-3 after a warm-up, constant, with moving average, linear start, mixed "
        f"quantisation, clip at 1, {runs[0, PLAIN]['samples']:,} crops of 128² in batches of 8.",
        "",
        "| instead | crops | change in rate at equal PSNR | seed by seed |",
        "| --- | --- | --- | --- |",
    ]
    for name in [*LEVERS, PLAIN + NO_AVERAGE, "stable, then decay over the last 20 %" + NO_AVERAGE]:
        if name == PLAIN:
            continue
        lever, key = name.removesuffix(NO_AVERAGE), "rd_without_average" if name.endswith(NO_AVERAGE) else "rd"
        seeds = [seed for seed, run in sorted(runs) if run == lever and (seed, PLAIN) in runs]
        if not seeds:
            continue
        percents = [change_in_rate(runs[seed, PLAIN]["rd"], runs[seed, lever][key]) for seed in seeds]
        crops = f"{runs[seeds[0], lever]['samples']:,}"
        each = ", ".join("–" if math.isnan(value) else f"{value:+.1f}" for value in percents)
        if any(map(math.isnan, percents)):
            low, high = (rd[i]["psnr"] for rd in [runs[seeds[0], lever][key]] for i in (0, -1))
            mean = f"no quality in common: {low:.1f} to {high:.1f} dB"
        elif len(percents) == 1:
            mean = f"{percents[0]:+.1f} % (one seed: no spread known)"
        else:
            mean = f"{statistics.mean(percents):+.1f} ± {statistics.stdev(percents) / math.sqrt(len(percents)):.1f} %"
        lines.append(f"| {name} | {crops} | {mean} | {each} |")
    replace_marked(DOCS, "levers", "\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("run", "table"))
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--validation", default="")
    parser.add_argument("--seconds", type=float, default=20, help="of the processor, a run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--stop-after", type=float, default=math.inf, help="processor seconds of this call")
    arguments = parser.parse_args()
    (measure if arguments.verb == "run" else table)(arguments)


if __name__ == "__main__":
    main()
