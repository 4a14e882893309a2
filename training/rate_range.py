"""A learning-rate range test: the rate rises geometrically, and the table shows where the loss stops falling.

    python training/rate_range.py recipes/nano.toml --data train-00.tar --from 1e-4 --to 1e-1 --samples 8000

Everything but the rate is the recipe's (`--with KEY=VALUE` as with `promptcodec train`); nothing is kept. A row is the
median of 16 steps; the last column says what the guard of a run thinks of it (`train/run/divergence.py`). Take a rate
well below the first one that is doubtful, for a long run is less stable than this one, and not above the one of the
lowest loss. Rows differ by their crops as well: a test of few samples says where a run diverges, and little about where
its loss is lowest. Where a model diverges at once at a rate that it bears later on, lengthen the warm-up.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import load_recipe, merge_values, parse_changes
from promptcodec.train.run.distributed import World
from promptcodec.train.run.divergence import LOOK_EVERY, DivergenceMonitor, Verdict


@dataclass(frozen=True)
class Row:
    """Medians of LOOK_EVERY steps up to ``rate``; None where they are not finite."""

    rate: float
    loss: float | None
    norm: float | None
    verdict: Verdict


def rate_range(recipe: Recipe, low: float, high: float) -> Iterator[Row]:
    """Train over the recipe's samples at rates from ``low`` to ``high``, until it diverges."""
    recipe = dataclasses.replace(recipe, learning_rate=low, warmup=0, decay=0.0, validation=(), watch=0.0, guard=0.0)
    bounds = Recipe()
    monitor = DivergenceMonitor((bounds.guard, bounds.guard_norm), World())
    steps = recipe.samples // recipe.batch
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(recipe, Path(folder))
        trainer.begin()
        groups = trainer.optimiser.networks.param_groups
        first = [group["base"] for group in groups]
        for step in range(steps):
            growth = (high / low) ** (step / max(steps - 1, 1))
            for group, base in zip(groups, first, strict=True):
                group["base"] = base * growth
            monitor.add(*trainer.train_step())
            if (step + 1) % LOOK_EVERY == 0:
                verdict, figures = monitor.look(), monitor.figures()
                yield Row(low * growth, figures["loss"], figures["norm"], verdict)
                if verdict is Verdict.DIVERGED:
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", action="append", required=True, help="folder or tar file of pictures")
    parser.add_argument("--from", dest="low", type=float, default=1e-4, help="first learning rate")
    parser.add_argument("--to", dest="high", type=float, default=1e-1, help="last learning rate")
    parser.add_argument("--samples", type=int, default=8000, help="crops of the whole test")
    parser.add_argument(
        "--with", dest="changes", action="append", default=[], help="KEY=VALUE in place of the recipe's"
    )
    arguments = parser.parse_args()
    keep_large_blocks()
    options = {"data": arguments.data, "samples": arguments.samples}
    recipe = load_recipe(arguments.recipe, merge_values(parse_changes(arguments.changes), options))
    rows = []
    print(f"{'rate':>10} {'loss':>10} {'norm':>10}")
    for row in rate_range(recipe, arguments.low, arguments.high):
        rows.append(row)
        loss, norm = ("–" if value is None else f"{value:.4g}" for value in (row.loss, row.norm))
        print(f"{row.rate:>10.2e} {loss:>10} {norm:>10} {row.verdict.name.lower()}", flush=True)
    lowest = min((row for row in rows if row.loss is not None), key=lambda row: row.loss or 0.0, default=None)
    if lowest is not None:
        print(f"the loss is lowest at {lowest.rate:.2e}")
    for verdict in (Verdict.DOUBTFUL, Verdict.DIVERGED):
        rates = [row.rate for row in rows if row.verdict is verdict]
        print(f"{verdict.name.lower()}: {f'first at {rates[0]:.2e}' if rates else 'at no rate'}")


if __name__ == "__main__":
    main()
