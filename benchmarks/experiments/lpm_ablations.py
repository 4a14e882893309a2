"""Paper 001 at a small size: which rate to start from (its Table 1), and how many pictures are enough (its Fig. 8).

python -m benchmarks.experiments.lpm_ablations --base nano --data train-00.tar ... --test KODAK [--samples 640]

Rates by LPM: the base is held at one trade-off, λ0, and an adapter is trained for each of the others; λ0 is the lowest
of the paper's six, one in the middle, or the highest. Pictures: at one new rate, an adapter on the frozen base against
fine-tuning all of it, with few of the pictures and with all; every run sees as many crops.
What is measured is the cost λ 255² MSE + bpp at the new λ on 24 crops of 256 x 256 pixels of other pictures: of the
held base, with what was trained, and of the base at the rate that its own gains, trained over all rates, have for λ.
Rows are kept in benchmarks/results/lpm.json and what is there is not trained again, unless base, data or training
differ. The tables go into docs/steering/experiments.md, with --table from what is kept.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.experiments.families import Family
from benchmarks.experiments.steering_effect import PAGE, RESULTS, ROOT, Crop, costs, crops
from benchmarks.marked import replace_marked
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe_file import load_recipe

KEPT = RESULTS / "lpm.json"
LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483)  # of paper 001
STARTS = (0.0067, 0.0018, 0.0483)
SHARES, FEW = (1.0, 0.1, 0.01), (0.0067, 0.0018)
ADAPTER, ALL = "LPM", "fine-tuning"
RATES = {ADAPTER: 5e-4, ALL: 3e-4}  # by a few single runs; at 4e-3 prompts leave all bounds
# Of one precision, where "auto" measures: rows are to be compared.
TRAINING = {"patch": 128, "batch": 8, "threads": 1, "watch": 0.0, "stochastic_depth": False, "precision": "bfloat16"}
Run = tuple[float, float, str, float]  # λ0, λ, method, share of the pictures
RUNS: tuple[Run, ...] = (
    *((*FEW, method, share) for share in SHARES for method in (ADAPTER, ALL)),
    *(
        (base_lambda, target, ADAPTER, 1.0)
        for base_lambda in STARTS
        for target in LAMBDAS
        if target != base_lambda and (base_lambda, target) != FEW
    ),
)


def run_of(row: dict[str, Any]) -> Run:
    """Which of ``RUNS`` a kept row is."""
    return row["held"], row["wanted"], row["method"], row["share"]


def measure(base: str, data: list[str], tests: list[Crop], samples: int, run: Run) -> dict[str, Any]:
    """Train by recipes/steer/nano-lpm.toml, or fine-tune the whole base, and measure on the test crops."""
    base_lambda, target, method, share = run
    changes = TRAINING | {
        "start": base, "data": data, "base_lambda": base_lambda, "fixed_lambda": target, "share": share,
        "samples": samples, "warmup": samples // 8, "learning_rate": RATES[method],
    }  # fmt: skip
    if method == ALL:
        changes |= {"train": "joint", "adapter": {}}
    recipe = load_recipe(ROOT / "recipes" / "steer" / "nano-lpm.toml", changes)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(recipe, Path(folder), say=lambda _: None)
        trainer.begin()
        trainer.train()
    model, adapter = trainer.averaged(), trainer.averaged_adapter()
    steering = Attached(model.config, [] if adapter is None else [adapter.eval()], Controls())

    def steer(x: Tensor, q: Tensor, _: float) -> dict[str, Any]:
        return model(x, q, "round", steering)  # type: ignore[no-any-return]

    family = Family("cost", "nano-lpm", {"base_lambda": base_lambda, "fixed_lambda": target})
    with torch.no_grad():
        costs_by_crop = costs(family, network_of(promptcodec.load(base)), steer, tests)
    names = ("base_held", "trained", "base_at_its_own_rate")
    return {
        "held": base_lambda, "wanted": target, "method": method, "share": share,
        "pictures": len(trainer.data.sampler.store.pictures),
        **{name: [round(row[i], 5) for row in costs_by_crop] for i, name in enumerate(names)},
    }  # fmt: skip


def fall(*rows: dict[str, Any]) -> str:
    """By how many percent of the held base's cost training lowers it: mean of rows, then of crops, standard error."""
    falls = [100 * (1 - np.array(row["trained"]) / np.array(row["base_held"])) for row in rows]
    crop = np.mean(falls, axis=0)
    return f"{crop.mean():+.2f} ± {crop.std(ddof=1) / len(crop) ** 0.5:.2f} %"


def above(row: dict[str, Any], name: str) -> float:
    """How many percent the mean cost is above that of the base at the rate of its own for this λ."""
    return float(100 * (np.mean(row[name]) / np.mean(row["base_at_its_own_rate"]) - 1))


def starts_table(rows: dict[Run, dict[str, Any]]) -> str:
    """Paper 001's Table 1: a row for each λ0."""
    names = [f"λ = {target:g}" for target in LAMBDAS]
    lines = ["| λ0 | " + " | ".join(names) + " | mean | LPM lowers the cost by |", "|" + 9 * "---|"]
    means = {}
    for base_lambda in sorted(STARTS):
        runs = [rows.get((base_lambda, target, ADAPTER, 1.0)) for target in LAMBDAS]
        there = [row for row in runs if row is not None]
        pairs = [None if row is None else (above(row, "base_held"), above(row, "trained")) for row in runs]
        last = ["–", "–"]
        if len(there) == len(LAMBDAS) - 1:
            before, means[base_lambda] = (float(np.mean([p[i] for p in pairs if p is not None])) for i in (0, 1))
            pairs.append((before, means[base_lambda]))
            last = [fall(*there)]
        cells = ["–" if pair is None else f"{pair[0]:+.1f} → {pair[1]:+.1f}" for pair in pairs]
        lines.append(f"| {base_lambda:g} | {' | '.join(cells + last)} |")
    if len(means) == len(STARTS):
        lines += ["", f"Best on average: λ0 = {min(means, key=means.__getitem__):g}."]
    return "\n".join(lines)


def pictures_table(rows: dict[Run, dict[str, Any]]) -> str:
    """Paper 001's Fig. 8: a row for each share of the pictures."""
    lines = ["| pictures | LPM | fine-tuning all of the base |", "|---|---|---|"]
    for share in sorted(SHARES):
        runs = [rows.get((*FEW, method, share)) for method in (ADAPTER, ALL)]
        count = next((f" ({row['pictures']:,})" for row in runs if row is not None), "")
        cells = ["–" if row is None else fall(row) for row in runs]
        lines.append(f"| {100 * share:g} %{count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables(kept: dict[str, Any]) -> str:
    """Both, in Markdown."""
    rows = {run_of(row): row for row in kept["rows"]}
    by_start = starts_table(rows)
    return f"{by_start}\n\n{pictures_table(rows)}"


def resumed(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """What ``path`` keeps of the same base and training, else no rows."""
    kept = json.loads(path.read_text()) if path.exists() else {}
    same = {name: kept.get(name) for name in settings} == settings
    return settings | {"rows": kept["rows"] if same else []}


def missing(kept: dict[str, Any]) -> list[Run]:
    """Runs that are not among the rows, in the order in which they are made."""
    done = {run_of(row) for row in kept["rows"]}
    return [run for run in RUNS if run not in done]


def write(kept: dict[str, Any], path: Path) -> None:
    """A line a row; a killed run leaves the old file or the new one."""
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in kept.items() if name != "rows")
    text = "{\n" + head + ' "rows": [\n  ' + ",\n  ".join(map(json.dumps, kept["rows"])) + "\n ]\n}\n"
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def main() -> None:
    """Train what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano", help="a shipped model or a model file, of variable rate")
    parser.add_argument("--data", nargs="+", help="what is trained on")
    parser.add_argument("--test", type=Path, help="other pictures")
    parser.add_argument("--samples", type=int, default=640, help="crops that each run sees")
    parser.add_argument("--table", action="store_true", help="only write what is kept into the page")
    options = parser.parse_args()
    if not options.table:
        if not (options.data and options.test):
            parser.error("give --data and --test")
        torch.set_num_threads(1)
        tests = crops(options.test)
        settings = {
            "base": promptcodec.load(options.base).fingerprint, "data": [Path(name).name for name in options.data],
            "samples": options.samples, "learning_rates": RATES, "training": TRAINING,
        }  # fmt: skip
        kept = resumed(settings, KEPT)
        for run in missing(kept):
            row = measure(options.base, options.data, tests, options.samples, run)
            kept["rows"].append(row)
            write(kept, KEPT)
            print(*run, fall(row), flush=True)
    text = tables(json.loads(KEPT.read_text()))
    print(text)
    replace_marked(PAGE, "lpm", text)


if __name__ == "__main__":
    main()
