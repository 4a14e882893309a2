"""What a lever of training is worth: short runs with and without it, equal seconds, several seeds.

    python benchmarks/train_levers.py recipes/nano.toml --data train-00.tar --validation VAL --seconds 60 \\
        --lever 'quantisation="noise"' --lever 'learning_rate=2e-3,ema=0.99'

Each lever is one or more KEY=VALUE of a recipe. Every seed gives one run of the recipe as it is and one with each
lever, in turn. Seconds are of the clock: where other work on the machine leaves runs of one seed with samples that
differ by more than a lever can explain, the comparison is worth nothing. All runs read the same data. The result is
the change in rate at equal quality (BD-rate, negative is better) of the moving average on the validation pictures,
seed by seed and as mean and spread; "nothing in common" where one curve is wholly above the other.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from promptcodec.codec.allocator import keep_large_blocks
from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.train.loop import Trainer
from promptcodec.train.pictures import load_pictures
from promptcodec.train.recipe import Recipe
from promptcodec.train.validation import validate

QUALITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def train(recipe: Recipe, seconds: float, validation: str) -> tuple[list[dict[str, float]], int]:
    """RD rows after so many seconds, and the samples seen."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, Path(folder), say=lambda _: None)
        trainer.begin()
        trainer.run(seconds)
        return validate(trainer.averaged(), load_pictures([validation]), QUALITIES), trainer.samples


def changes(lever: str) -> dict[str, Any]:
    """KEY=VALUE,KEY=VALUE as a dictionary."""
    return tomllib.loads(f"all = {{ {lever} }}")["all"]


def change_in_rate(plain: list[dict[str, float]], other: list[dict[str, float]]) -> float:
    """BD-rate of ``other`` against ``plain`` in per cent."""
    curves = [[(row["bpp"], row["psnr"]) for row in rows] for rows in (other, plain)]
    percent = bd_rate(*curves).percent
    return math.nan if percent is None else percent


def summary(found: list[float]) -> str:
    """Mean and spread of the changes in rate."""
    each = ", ".join("nothing in common" if math.isnan(value) else f"{value:+.1f}" for value in found)
    if any(map(math.isnan, found)) or len(found) < 2:
        return each
    return f"{statistics.mean(found):+.1f} ± {statistics.stdev(found):.1f} % ({each})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--validation", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lever", action="append", required=True, help="KEY=VALUE[,KEY=VALUE]")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for all runs")
    arguments = parser.parse_args()
    keep_large_blocks()
    common: dict[str, Any] = {"data": arguments.data, "watch": 0}
    for text in arguments.set:
        common |= changes(text)
    results: dict[str, list[float]] = {lever: [] for lever in arguments.lever}
    for seed in range(arguments.seeds):
        plain, samples = train(
            Recipe.load(arguments.recipe, common | {"seed": seed}), arguments.seconds, arguments.validation
        )
        print(json.dumps({"seed": seed, "lever": None, "samples": samples, "rd": plain}), flush=True)
        for lever, found in results.items():
            recipe = Recipe.load(arguments.recipe, common | {"seed": seed} | changes(lever))
            rows, samples = train(recipe, arguments.seconds, arguments.validation)
            found.append(change_in_rate(plain, rows))
            row = {"seed": seed, "lever": lever, "samples": samples, "bd_rate": round(found[-1], 2), "rd": rows}
            print(json.dumps(row), flush=True)
    for lever, found in results.items():
        print(f"{lever}: {summary(found)}")


if __name__ == "__main__":
    main()
