"""What a short training of every kind of adapter gains on a frozen model, on its own metric, against no steering.

    python -m benchmarks.experiments.steering_effect [FAMILY ...] --data FOLDER --test FOLDER --networks FOLDER
    python -m benchmarks.experiments.steering_effect region rate-prompts --append --base MODEL ...

Each family is trained by ``promptcodec train``'s engine for so many seconds of CPU time (``FAMILIES`` says which get
more of them), with a recipe of this repository, and measured on 24 crops of 256 x 256 pixels of pictures that training
has not seen, at several rates. Where the base has a variable rate, every steered crop is compared with the unsteered
base at the same bits per pixel, by its rate-distortion curve through six rates; the figure is the mean gain over rates,
then over crops, with its standard error. Bases held at one rate cannot be compared so: there it is the loss
λ 255² MSE + bpp at the new λ.
The results are kept in benchmarks/results/steering-MODEL.json, the unsteered curves with them; --append keeps those of
other families on the same base. ``--table`` writes them into
docs/steering/experiments.md, which has a place for each MODEL.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.experiments.families import FAMILIES, Family
from benchmarks.marked import replace_marked
from promptcodec.evaluate.bdrate import quality_at
from promptcodec.evaluate.data.datasets import find_pictures
from promptcodec.model.base import CompressionModel
from promptcodec.model.inference.annealing import AnnealedRefinement
from promptcodec.model.inference.latent_cost import LatentCost
from promptcodec.model.inference.proximal import ProximalSearch
from promptcodec.model.rate_distortion import mean_squared_error, rate_distortion
from promptcodec.model.steering import Steerer
from promptcodec.picture.read import read
from promptcodec.quality.lpips import FeatureDistance
from promptcodec.quality.ms_ssim import ms_ssim
from promptcodec.quality.networks import FeatureNetwork
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.build import build_trainer
from promptcodec.train.losses.feature_balance import FeatureBalance
from promptcodec.train.recipe_file import load_recipe

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "steering" / "experiments.md"
CROPS, SIDE = 24, 256
ANCHOR_QS, QS = (0.2, 0.3, 0.42, 0.54, 0.66, 0.8), (0.35, 0.6)
SHORT = {"patch": 192, "batch": 4, "learning_rate": 1e-4, "decay": 0.4, "ema": 0.95,
         "rates": [0.25, 0.75], "threads": 1, "log_every": 20, "stochastic_depth": False}  # fmt: skip


UNITS = {"psnr": "PSNR, dB", "roi-psnr": "PSNR weighted by region, dB", "ms-ssim": "MS-SSIM, dB", "lpips": "LPIPS less",
         "features": "feature distance, dB", "cost": "λ 255² MSE + bpp less"}  # fmt: skip
NAMES = ("psnr", "roi-psnr", "ms-ssim", "lpips", "features")
Anchor = list[list[list[float]]]  # a crop, a rate: bits per pixel and all metrics of the unsteered base


class Metrics:
    """Metrics of one picture, larger is better: decibels, but for LPIPS (its negative) and cost (bits per pixel)."""

    def __init__(self, networks: Path) -> None:
        alex, heads = (networks / f"{n}.safetensors" for n in ("alexnet_features_torchvision", "lpips_v0.1_heads"))
        self.files = {"features": str(alex), "feature_heads": str(heads)}
        self.lpips, self.recogniser = FeatureDistance(alex, heads), FeatureNetwork(alex)
        self.unscaled = FeatureBalance(len(self.recogniser.channels), "none")

    def __call__(self, name: str, x_hat: Tensor, x: Tensor, roi: Tensor) -> float:
        """x_hat and x: (1, 3, H, W) in [0, 1]."""
        if name == "lpips":
            return -float(self.lpips(x_hat, x))
        error = {
            "psnr": lambda: mean_squared_error(x_hat, x) / 255**2,
            "roi-psnr": lambda: mean_squared_error(x_hat, x, roi) / roi.mean() / 255**2,
            "ms-ssim": lambda: 1 - ms_ssim(x_hat, x),
            "features": lambda: self.unscaled.distance(self.recogniser, x_hat, x),
        }[name]()
        return -10 * math.log10(float(error))


@dataclass(frozen=True)
class Crop:
    """(1, 3, SIDE, SIDE) in [0, 1], and a region of it."""

    x: Tensor
    roi: Tensor


def crops(folder: Path, count: int = CROPS) -> list[Crop]:
    """One of each of the first pictures, at random."""
    rng, chosen = np.random.default_rng(0), []
    for path in find_pictures([folder])[:count]:
        rgb = read(path).rgb
        top, left = (int(rng.integers(size - SIDE + 1)) for size in rgb.shape[:2])
        x = torch.from_numpy(rgb[top : top + SIDE, left : left + SIDE].copy()).permute(2, 0, 1)[None].float() / 255
        roi = torch.full((1, 1, SIDE, SIDE), 0.25)
        height, width = rng.integers(SIDE // 4, 3 * SIDE // 4, 2)
        top, left = rng.integers(0, SIDE - height), rng.integers(0, SIDE - width)
        roi[..., top : top + height, left : left + width] = 1.0
        chosen.append(Crop(x, roi))
    return chosen


def train(
    family: Family, base: str, metrics: Metrics, data: list[str], seconds: float
) -> tuple[CompressionModel, Adapter, int]:
    """The base, the trained adapter, and the samples that it has seen."""
    changes = SHORT | {"start": base, "data": data} | family.changes
    recipe = load_recipe(ROOT / "recipes" / "steer" / f"{family.recipe}.toml", changes)
    if recipe.features:
        recipe = dataclasses.replace(recipe, features=metrics.files["features"])
    if recipe.feature_heads:
        recipe = dataclasses.replace(recipe, feature_heads=metrics.files["feature_heads"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = build_trainer(recipe, Path(folder), say=lambda _: None)
        trainer.begin()
        began = time.process_time()
        while True:  # a run in samples, as long as a few steps say that the seconds last
            spent = time.process_time() - began
            if trainer.step in (4, 16, 64):
                samples = int(seconds / spent * trainer.samples)
                trainer.schedule = dataclasses.replace(trainer.schedule, samples=samples, warmup=samples // 3)
            if trainer.step > 4 and trainer.samples >= trainer.schedule.samples:
                break
            trainer.train_step()
        adapter = trainer.averaged_adapter()
        assert adapter is not None
        return trainer.averaged(), adapter.eval(), trainer.samples


def points(
    metrics: Metrics, model: CompressionModel, crop: Crop, q: float, steering: Steerer | None, names: tuple[str, ...]
) -> list[float]:
    """Bits per pixel, then the named metrics, at rate q."""
    out = model(crop.x, torch.tensor([q]), "round", steering)
    x_hat = (out["x_hat"].clamp(0, 1) * 255).round() / 255
    return [float(rate_distortion(out, crop.x).bpp), *(metrics(name, x_hat, crop.x, crop.roi) for name in names)]


def at_equal_rate(
    name: str, metrics: Metrics, model: CompressionModel, adapter: Adapter, tests: list[Crop], anchor: Anchor
) -> list[float]:
    """Mean gain over rates of each crop."""
    gains = []
    for crop, rows in zip(tests, anchor, strict=True):
        curve = [(row[0], row[1 + NAMES.index(name)]) for row in rows]
        differences = []
        for q in QS:
            scalars = {"look": torch.ones(1), "rate": torch.tensor([q])}
            steering = Attached(model.config, [adapter], Controls(scalars, {"roi": crop.roi}))
            rate, quality = points(metrics, model, crop, q, steering, (name,))
            plain = quality_at(curve, rate)
            if plain is not None:
                differences.append(quality - plain)
        if differences:
            gains.append(float(np.mean(differences)))
    return gains


def costs(
    family: Family, model: CompressionModel, steer: Callable[[Tensor, Tensor, float], dict[str, Any]], tests: list[Crop]
) -> list[tuple[float, float, float]]:
    """λ 255² MSE + bpp of each crop at a λ for which the base, held at one rate, was not trained: of the held base, of
    it steered, and of the base at the rate of its own for λ.
    """
    assert model.gain is not None
    gain = model.gain
    spread = math.log(gain.lambda_max / gain.lambda_min)

    def cost(out: dict[str, Any], x: Tensor) -> float:
        return float(target * mean_squared_error(out["x_hat"].clamp(0, 1), x) + rate_distortion(out, x).bpp)

    target = family.changes.get("fixed_lambda", 0.0018)
    base_rate, target_rate = (
        torch.tensor([math.log(v / gain.lambda_min) / spread]) for v in (family.changes["base_lambda"], target)
    )
    rows = []
    for x in (crop.x for crop in tests):
        outs = (model(x, base_rate, "round"), steer(x, base_rate, target), model(x, target_rate, "round"))
        rows.append((cost(outs[0], x), cost(outs[1], x), cost(outs[2], x)))
    return rows


def cost_saved(
    family: Family, model: CompressionModel, steer: Callable[[Tensor, Tensor, float], dict[str, Any]], tests: list[Crop]
) -> tuple[list[float], list[float]]:
    """What the cost of the held base falls by with steering, and with the base's own rate control."""
    rows = costs(family, model, steer, tests)
    return [base - steered for base, steered, _ in rows], [base - controlled for base, _, controlled in rows]


def edited(model: CompressionModel, x: Tensor, q: Tensor, target: float) -> dict[str, Any]:
    """A pass with latents refined for ``target``."""
    cost = LatentCost(model, x, q, Attached(model.config, []), target)
    search = ProximalSearch(0)
    refined = AnnealedRefinement(30, search, search)(cost, cost.y, cost.z)
    y, z, steer = cost.latents(refined.y, refined.z)
    return model.reconstruct(y, z, model.gains(q), "round", Attached(model.config, []), steer)


@torch.no_grad()
def measure(
    name: str, base: str, metrics: Metrics, data: list[str], tests: list[Crop], seconds: float, anchor: Anchor
) -> dict[str, Any]:
    """Train and measure one family."""
    family = FAMILIES[name]
    row: dict[str, Any] = {"family": name, "metric": family.metric}
    torch.manual_seed(0)
    began = time.process_time()
    if family.recipe:
        with torch.enable_grad():
            model, adapter, samples = train(family, base, metrics, data, seconds * family.times)
        row |= {"samples": samples, "parameters": sum(p.numel() for p in adapter.parameters()),
                "training_cpu_seconds": round(time.process_time() - began)}  # fmt: skip
    else:
        model = network_of(promptcodec.load(base))
    if family.metric != "cost":
        gains = at_equal_rate(family.metric, metrics, model, adapter, tests, anchor)
    elif family.recipe:

        def steer(x: Tensor, q: Tensor, target: float) -> dict[str, Any]:
            index = torch.tensor([0.0])  # of Kao et al.'s λ, 0.0018 for adapters that take the rate
            controls = Controls({"rate": index}, {"roi": torch.ones_like(x[:, :1])})
            return model(x, q, "round", Attached(model.config, [adapter], controls))  # type: ignore[no-any-return]

        gains, by_rate_control = cost_saved(family, network_of(promptcodec.load(base)), steer, tests)
    else:
        gains, by_rate_control = cost_saved(family, model, lambda x, q, target: edited(model, x, q, target), tests)
    if not gains:  # its rates are so far off that there is nothing to compare with
        return row | {"gain": None, "standard_error": None, "crops": 0}
    if family.metric == "cost":
        row["saved_by_the_rate_control_of_the_base"] = round(float(np.mean(by_rate_control)), 4)
    return row | {
        "gain": round(float(np.mean(gains)), 4), "crops": len(gains),
        "standard_error": round(float(np.std(gains, ddof=1) / math.sqrt(len(gains))), 4),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """The results for docs/steering/experiments.md, in Markdown."""
    lines = ["| family | metric | gain | crops trained on | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        gain, error = row["gain"], row["standard_error"]
        if gain is None:
            lines.append(f"| {row['family']} | {UNITS[row['metric']]} | – | {row['samples']:,} | far off all rates |")
            continue
        verdict = "better" if gain > 2 * error else "worse" if gain < -2 * error else "no difference"
        seen = f"{row['samples']:,}" if "samples" in row else "–"
        lines.append(f"| {row['family']} | {UNITS[row['metric']]} | {gain:+.3f} ± {error:.3f} | {seen} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Train, measure, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []])
    parser.add_argument("--data", nargs="+", help="what is trained on")
    parser.add_argument("--test", type=Path, help="other pictures")
    parser.add_argument("--networks", type=Path, help="AlexNet and the heads of LPIPS")
    parser.add_argument("--table", action="store_true", help="only write what is kept into the page")
    parser.add_argument("--seconds", type=float, default=100.0)
    parser.add_argument("--append", action="store_true")
    parser.add_argument("--base", default="nano", help="a shipped model or a model file")
    options = parser.parse_args()
    if options.table:
        for path in sorted(RESULTS.glob("steering-*.json")):
            replace_marked(PAGE, f"effect-{path.stem[9:]}", table(json.loads(path.read_text())["families"]))
        return
    if not (options.data and options.test and options.networks):
        parser.error("give --data, --test and --networks")
    torch.set_num_threads(1)
    metrics, tests = Metrics(options.networks), crops(options.test)
    base = promptcodec.load(options.base)
    path = RESULTS / f"steering-{network_of(base).config.name}.json"
    kept = json.loads(path.read_text()) if options.append and path.exists() else {}
    if kept.get("base") != base.fingerprint:
        with torch.no_grad():
            anchor = [
                [points(metrics, network_of(base), crop, q, None, NAMES) for q in ANCHOR_QS] for crop in tests
            ]  # fmt: skip
        kept = {"families": [], "anchor": [[[round(v, 5) for v in row] for row in rows] for rows in anchor]}
    rows = {row["family"]: row for row in kept["families"]}
    for name in options.families or [name for name, family in FAMILIES.items() if family.fits_nano]:
        rows[name] = measure(name, options.base, metrics, options.data, tests, options.seconds, kept["anchor"])
        print(json.dumps(rows[name]), flush=True)
        order = [rows[key] for key in FAMILIES if key in rows]
        head = {"base": base.fingerprint, "families": order, "anchor": kept["anchor"]}
        path.write_text(json.dumps(head) + "\n")


if __name__ == "__main__":
    main()
