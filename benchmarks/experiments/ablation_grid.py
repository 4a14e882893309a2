"""Train the variants of a grid on equal terms and compare them: the papers' ablations at a small size.

    python -m benchmarks.experiments.ablation_grid recipes/grids/ffn.toml --data train-00.tar --validation VAL
    python -m benchmarks.experiments.ablation_grid recipes/grids/*.toml --report --docs docs/backbones.md

A grid is one file: a recipe for all (``[recipe.schedule]`` and other sections), the ``seeds``, the label of the
``reference``, and ``[[variant]]`` tables with ``label`` and ``model`` (``promptcodec train`` knows these names; other
keys replace values of the recipe). All variants see the same crops in the same order and as many of them. Runs that
stop, at ``--max-seconds`` too, go on where they were; a run that several grids name is trained once. Every finished run
is a line of ``--results``: samples, seconds of the process' CPU time, cost, and rate (estimated) and PSNR on the
central 256 x 256 pixels of the validation pictures.

``--report`` reads those lines and prints each variant's change in rate at equal quality against the reference
(BD-rate, negative is better), seed by seed and as mean and spread.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.marked import replace_marked
from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.evaluate.cost.complexity import build, parts, total
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.store.model_file import save_model
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.system.extras import import_extra
from promptcodec.train.build import build_trainer
from promptcodec.train.data.pictures import load_pictures
from promptcodec.train.recipe_file import flatten, read_recipe
from promptcodec.train.validation import validate

QUALITIES = (0.0, 0.33, 0.67, 1.0)
CROP = 256  # pixels a side, from the middle of the validation pictures
Row = dict[str, Any]


@dataclass(frozen=True)
class Grid:
    """A grid file: ``variants`` are labels and what they change in ``recipe``, whose keys are ``Recipe``'s."""

    name: str
    title: str
    reference: str
    seeds: tuple[int, ...]
    recipe: dict[str, Any]
    variants: dict[str, dict[str, Any]]

    @staticmethod
    def load(path: Path) -> Grid:
        values = tomllib.loads(path.read_text())
        variants = {v["label"]: {k: x for k, x in v.items() if k != "label"} for v in values["variant"]}
        assert values["reference"] in variants, f"{path}: the reference is none of the variants"
        recipe, seeds = flatten(values["recipe"], f"grid {path}"), tuple(values["seeds"])
        return Grid(path.stem, values["title"], values["reference"], seeds, recipe, variants)

    def settings(self, label: str, seed: int) -> dict[str, Any]:
        """The recipe's values of one run."""
        return self.recipe | self.variants[label] | {"seed": seed}


def read(results: Path) -> list[Row]:
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def find(rows: list[Row], settings: dict[str, Any]) -> Row | None:
    return next((row for row in rows if row["settings"] == settings), None)


def train(settings: dict[str, Any], arguments: argparse.Namespace, seconds: float) -> Row | None:
    """Train or go on with a run; its row once it has seen all of its samples."""
    common = {"data": arguments.data, "watch": 0.0, "threads": 1}
    recipe = read_recipe(settings | common, "the grid's recipe")
    folder = arguments.runs / f"{recipe.model}-{recipe.patch}-{recipe.samples}-{recipe.seed}"
    clock = folder / "cpu_seconds"
    trainer = build_trainer(recipe, folder, say=lambda _: None)
    trainer.begin()
    before = float(clock.read_text()) if clock.exists() else 0.0
    start = time.process_time()
    trainer.train(seconds)
    spent = before + time.process_time() - start
    clock.write_text(str(spent))
    print(f"{folder.name}: {trainer.samples:,} samples, {spent:.0f} s of CPU time", flush=True)
    if trainer.samples < recipe.samples:
        return None
    save_model(trainer.averaged(), folder / "model.safetensors", "0")
    cost = parts(build(CONFIGURATIONS[recipe.model]()), 512, 768)
    rd = validate(trainer.averaged(), [middle(p) for p in load_pictures([arguments.validation])], QUALITIES)
    return {
        "settings": settings, "samples": trainer.samples, "cpu_seconds": round(spent, 1),
        "parameters": total(cost).parameters, "kmac": round(total(cost).macs.needed / 1e3 / 512 / 768, 3), "rd": rd,
    }  # fmt: skip


def middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The central crop of a picture (H, W, 3)."""
    top, left = ((side - CROP) // 2 for side in picture.shape[:2])
    return picture[top : top + CROP, left : left + CROP]


def change_in_rate(row: Row, reference: Row) -> float:
    """BD-rate in per cent; nan where the curves share no quality."""
    ours, theirs = ([(point["bpp"], point["psnr"]) for point in r["rd"]] for r in (row, reference))
    percent = bd_rate(ours, theirs).percent
    return math.nan if percent is None else percent


def changes(grid: Grid, rows: list[Row]) -> dict[str, list[float]]:
    """Changes in rate of every variant, by seed, of the runs that are there."""
    table: dict[str, list[float]] = {}
    for label in grid.variants:
        pairs = [[find(rows, grid.settings(n, seed)) for n in (label, grid.reference)] for seed in grid.seeds]
        table[label] = [change_in_rate(a, b) for a, b in pairs if a is not None and b is not None]
    return table


def report(grid: Grid, rows: list[Row]) -> str:
    """A table for people, in Markdown."""
    crops = f"{grid.recipe['samples']:,} crops of {grid.recipe['patch']}²"
    lines = [f"**{grid.title}** (against “{grid.reference}”; {crops} a run)", ""]
    lines += ["| variant | kMAC/px | M parameters | CPU s a run | rate at equal PSNR |", "|---|---|---|---|---|"]
    for label, percents in changes(grid, rows).items():
        runs = [row for seed in grid.seeds if (row := find(rows, grid.settings(label, seed)))]
        if not runs:
            lines.append(f"| {label} | | | | not run |")
            continue
        seconds = statistics.mean(row["cpu_seconds"] for row in runs)
        each = ", ".join(f"{value:+.2f}" for value in percents)
        spread = f" ± {statistics.stdev(percents):.2f}" if len(percents) > 1 else ""
        result = f"{statistics.mean(percents):+.2f}{spread} % ({each})" if percents else "no reference"
        result = "0" if label == grid.reference else result
        cost = f"{runs[0]['kmac']:.2f} | {runs[0]['parameters'] / 1e6:.2f} | {seconds:.0f}"
        lines.append(f"| {label} | {cost} | {result} |")
    return "\n".join(lines)


def plot(grid: Grid, rows: list[Row], path: Path) -> None:
    """Curves of the first seed on the left, changes in rate of all seeds on the right."""
    figure = import_extra("matplotlib.figure", "matplotlib").Figure(figsize=(9, 3.4), layout="constrained")
    curves, dots = figure.subplots(1, 2)
    for i, (label, percents) in enumerate(changes(grid, rows).items()):
        row, color = find(rows, grid.settings(label, grid.seeds[0])), f"C{i % 10}"
        if row is None:
            continue
        curves.plot([p["bpp"] for p in row["rd"]], [p["psnr"] for p in row["rd"]], color=color, lw=1, marker=".")
        dots.plot(percents, [i] * len(percents), "o", color=color, ms=5)
    curves.set(xlabel="bits per pixel", ylabel="PSNR, dB", xscale="log")
    dots.axvline(0, color="0.6", lw=0.8)
    labels = list(grid.variants)
    dots.set(yticks=range(len(labels)), yticklabels=labels, xlabel=f"change in rate against {grid.reference}, %")
    dots.invert_yaxis()
    figure.suptitle(grid.title, fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grids", type=Path, nargs="+")
    parser.add_argument("--data", action="append", default=[])
    parser.add_argument("--validation", default="")
    parser.add_argument("--runs", type=Path, default=Path("runs/grids"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/ablations.jsonl"))
    parser.add_argument("--max-seconds", type=float, default=math.inf)
    parser.add_argument("--report", action="store_true", help="print what is there instead of training")
    parser.add_argument("--plots", type=Path, help="with --report, the folder for one PNG a grid")
    parser.add_argument("--docs", type=Path, help="with --report, the page to write into instead of printing")
    arguments = parser.parse_args()
    grids = [Grid.load(path) for path in arguments.grids]
    if arguments.report:
        rows = read(arguments.results)
        text = "\n\n".join(report(grid, rows) for grid in grids)
        if arguments.docs:
            replace_marked(arguments.docs, "grids", text)
        else:
            print(text)
        for grid in grids if arguments.plots else ():
            plot(grid, rows, arguments.plots / f"{grid.name}.png")
        return
    keep_large_blocks()
    end = time.monotonic() + arguments.max_seconds
    # Seed by seed over all grids, so that whatever stops early is a comparison.
    for seed in sorted({seed for grid in grids for seed in grid.seeds}):
        for settings in (g.settings(label, seed) for g in grids if seed in g.seeds for label in g.variants):
            left = end - time.monotonic()
            if find(read(arguments.results), settings) is not None or left <= 0:
                continue
            row = train(settings, arguments, left)
            if row is not None:
                with arguments.results.open("a") as file:
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
