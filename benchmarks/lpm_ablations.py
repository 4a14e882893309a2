"""Paper 001 at a small size: which rate to start from (its Table 1), and how many pictures are enough (its Fig. 8).

python benchmarks/lpm_ablations.py --base runs/grids/swin-nano-128-4800-0/model.safetensors --data train-00.tar ...
    --test KODAK [--samples 800]

Rates by LPM: the base is held at one trade-off, λ0, and an adapter is trained for each of the others; λ0 is the lowest
of the paper's six, one in the middle, or the highest. Pictures: at one new rate, an adapter on the frozen base against
fine-tuning all of it, with so few of the pictures; both see as many crops.
What is measured is the loss λ 255² MSE + bpp at the new λ on 24 crops of 256 x 256 pixels of other pictures: by how
much it falls below the held base's, and how much of that the base's own rate control, trained over all rates, saves.
Rows are kept in benchmarks/results/lpm.json (what is there is not trained again) and written into docs/steering.md.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from marked import replace_marked
from steering_effect import PAGE, RESULTS, ROOT, Family, cost_saved, crops
from torch import Tensor

import promptcodec
from promptcodec.model.base import CompressionModel
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe

KEPT = RESULTS / "lpm.json"
LAMBDAS = (0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483)  # of paper 001
STARTS = (0.0018, 0.0067, 0.0483)
SHARES, FEW = (0.01, 0.1, 1.0), (0.0067, 0.0018)
ADAPTER, ALL = "LPM", "fine-tuning"


def trained(base: str, data: list[str], held: float, wanted: float, method: str, share: float, samples: int) -> Trainer:
    """A finished run of recipes/steer/nano-lpm.toml, or of the whole base."""
    changes: dict[str, Any] = {
        "start": base, "data": data, "base_lambda": held, "fixed_lambda": wanted, "share": share, "samples": samples,
        "warmup": samples // 8, "patch": 128, "batch": 8, "threads": 1, "watch": 0.0, "log_every": 50,
        "stochastic_depth": False,
    }  # fmt: skip
    if method == ALL:
        changes |= {"train": "joint", "adapter": {}, "learning_rate": 1e-4}
    recipe = Recipe.load(ROOT / "recipes" / "steer" / "nano-lpm.toml", changes)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, Path(folder), say=lambda _: None)
        trainer.begin()
        trainer.run()
    return trainer


def measure(options: argparse.Namespace, held: float, wanted: float, method: str, share: float) -> dict[str, Any]:
    """Train, and measure what is saved on the test crops."""
    torch.manual_seed(0)
    with torch.enable_grad():
        trainer = trained(options.base, options.data, held, wanted, method, share, options.samples)
    plain, adapter = promptcodec.load(options.base).network, trainer.averaged_adapter()
    model: CompressionModel = trainer.averaged()
    attached = [] if adapter is None else [adapter.eval()]

    def steer(x: Tensor, q: Tensor, _: float) -> dict[str, Any]:
        return model(x, q, "round", Attached(model.config, attached, Controls()))  # type: ignore[no-any-return]

    family = Family("cost", "nano-lpm", {"base_lambda": held, "fixed_lambda": wanted})
    saved, own = cost_saved(family, plain, steer, crops(options.test))
    error = statistics.stdev(saved) / math.sqrt(len(saved))
    return {
        "held": held, "wanted": wanted, "method": method, "share": share, "saved": round(statistics.mean(saved), 5),
        "standard_error": round(error, 5), "by_the_base": round(statistics.mean(own), 5),
    }  # fmt: skip


def tables(kept: dict[str, Any]) -> str:
    """Both, in Markdown."""
    rows = {(r["held"], r["wanted"], r["method"], r["share"]): r for r in kept["rows"]}
    lines = [
        "| λ0 | " + " | ".join(f"to λ = {wanted:g}" for wanted in LAMBDAS) + " | of what the base's own rates save |"
    ]
    lines.append("|" + (len(LAMBDAS) + 2) * "---|")
    for held in STARTS:
        found = [rows.get((held, wanted, ADAPTER, 1.0)) for wanted in LAMBDAS]
        cells = ["–" if row is None else f"{row['saved']:+.4f} ± {row['standard_error']:.4f}" for row in found]
        own = sum(row["by_the_base"] for row in found if row is not None)
        share = sum(row["saved"] for row in found if row is not None) / own
        lines.append(f"| {held:g} | {' | '.join(cells)} | {100 * share:.1f} % |")
    lines += ["", "| pictures | LPM | fine-tuning all of the base |", "|---|---|---|"]
    for share in SHARES:
        few = [rows[*FEW, method, share] for method in (ADAPTER, ALL)]
        cells = [f"{row['saved']:+.4f} ± {row['standard_error']:.4f}" for row in few]
        lines.append(f"| {100 * share:g} % | {' | '.join(cells)} |")
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    """Train what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="nano", help="a shipped model or a model file, of variable rate")
    parser.add_argument("--data", nargs="+", help="what is trained on")
    parser.add_argument("--test", type=Path, help="other pictures")
    parser.add_argument("--samples", type=int, default=800)
    parser.add_argument("--table", action="store_true", help="only write what is kept into docs/steering.md")
    options = parser.parse_args()
    if not options.table:
        if not (options.data and options.test):
            parser.error("give --data and --test")
        torch.set_num_threads(1)
        asked = {"base": promptcodec.load(options.base).fingerprint, "samples": options.samples}
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        if {name: kept.get(name) for name in asked} != asked:
            kept = asked | {"rows": []}
        runs = [(held, wanted, ADAPTER, 1.0) for held in STARTS for wanted in LAMBDAS if wanted != held]
        runs += [(*FEW, method, share) for share in SHARES for method in (ADAPTER, ALL)]
        done = {(r["held"], r["wanted"], r["method"], r["share"]) for r in kept["rows"]}
        for run in dict.fromkeys(runs):
            if run not in done:
                kept["rows"].append(measure(options, *run))
                print(json.dumps(kept["rows"][-1]), flush=True)
                KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    replace_marked(PAGE, "lpm", tables(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
