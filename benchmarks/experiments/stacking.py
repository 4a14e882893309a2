"""What is left of each adapter's effect when several are stacked in one encode.

python -m benchmarks.experiments.stacking --rate rate.safetensors --region region --look look --test FOLDER
    [--networks FOLDER] [--model nano] [--crops 24] [--base-lambda 0.0067]

Any two or three of the adapters, trained on the model: files, or names of those in the package. An effect is measured
on crops of 256 x 256 pixels of the test pictures, alone and in the stack, as the difference that the adapter makes
between two settings, in its own metric:

- rate: from being away to being there with the base's own rate as its setting, the change of PSNR; of gain units, which
  bring rates to a base held at --base-lambda: from the setting for that trade-off to the one for λ = 0.0018, what the
  loss λ 255² MSE + bpp falls by (not at equal bits: fewer bits are what is asked for);
- region: from a map of ones to a rectangle, the change of PSNR weighted by that map;
- look: from setting 0 to 1, the change of its metric: MS-SSIM in decibels, or with --networks LPIPS (less is better).

The others at equal bits per pixel, by the slope of the model's own metric over log2(bits). In the stack the other
adapters are at their neutral settings: the base's rate, look 0, a region of ones. "Kept" is the effect in the stack as
a share of the one alone; the standard error is of the mean over crops. Results go to benchmarks/results/stacking.json
and into docs/steering/methods.md; a file with all adapters is made of the first crop and decoded, as a stack is no
theory.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.experiments.steering_effect import PAGE, SIDE, crops
from benchmarks.marked import replace_marked
from promptcodec.model.base import CompressionModel
from promptcodec.model.rate_distortion import mean_squared_error, rate_distortion
from promptcodec.quality.lpips import FeatureDistance
from promptcodec.quality.ms_ssim import ms_ssim
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import load_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.train.losses.steering import lambda_to_index

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "stacking.json"
QS = (0.35, 0.6)
TARGET = 0.0018  # the trade-off that gain units are asked for, the lowest of theirs
ORDER = ("rate", "region", "look")  # in which they act
Metric = Callable[[Tensor, Tensor, Tensor], float]  # of x_hat, x and the region


class Effects:
    """Effects of single adapters and stacks on one model."""

    def __init__(
        self, model: CompressionModel, adapters: dict[str, Adapter], look_metric: Metric, base_lambda: float = 0.0
    ) -> None:
        """``base_lambda``: what the base is held at, for gain units."""
        self.model, self.adapters = model, adapters
        self.metrics: dict[str, Metric] = {"rate": psnr, "region": weighted_psnr, "look": look_metric}
        self.units = isinstance(adapters.get("rate"), GainUnits)
        self.qs: tuple[float, ...] = QS
        if self.units:
            gain = model.gain
            assert gain is not None
            self.qs = (math.log(base_lambda / gain.lambda_min) / math.log(gain.lambda_max / gain.lambda_min),)
            self.neutral = lambda_to_index(torch.tensor([base_lambda]))

    def run(self, crop: Tensor, q: float, names: Sequence[str], settings: dict[str, Any]) -> tuple[float, Tensor]:
        """log2(bits per pixel) and the decoded crop."""
        rate_control = settings.get("rate", self.neutral) if self.units else torch.tensor([q])
        scalars = {"rate": rate_control, "look": torch.tensor([settings.get("look", 0.0)])}
        controls = Controls(scalars, {"roi": settings.get("roi", torch.ones(1, 1, SIDE, SIDE))})
        steering = Attached(self.model.config, [self.adapters[n] for n in names], controls)
        rate = torch.tensor([q]) if self.model.gain is not None else None
        out = self.model(crop, rate, "round", steering)
        return math.log2(float(rate_distortion(out, crop).bpp)), (out["x_hat"].clamp(0, 1) * 255).round() / 255

    def effect(self, name: str, names: Sequence[str], crop: Tensor, roi: Tensor, q: float) -> float:
        """What ``name`` does beside the others in ``names``."""
        if name == "rate" and self.units:
            settings: tuple[dict[str, Any], ...] = ({}, {"rate": torch.zeros(1)})
            before, after = (self._cost(self.run(crop, q, names, setting), crop) for setting in settings)
            return before - after
        choices: dict[str, dict[str, Any]] = {"rate": {}, "region": {"roi": roi}, "look": {"look": 1.0}}
        choice = choices[name]
        rate_low, x_low = self.run(crop, q, [n for n in names if n != "rate" or name != "rate"], {})
        rate_high, x_high = self.run(crop, q, names, choice)
        metric = self.metrics[name]
        gained = metric(x_high, crop, roi) - metric(x_low, crop, roi)
        return gained - self._slope(metric, crop, roi, q) * (rate_high - rate_low)

    @staticmethod
    def _cost(outcome: tuple[float, Tensor], crop: Tensor) -> float:
        return 2 ** outcome[0] + TARGET * float(mean_squared_error(outcome[1], crop))

    def _slope(self, metric: Metric, crop: Tensor, roi: Tensor, q: float) -> float:
        """Of the metric over log2(bits) of the model without adapters; 0 for a model of one rate."""
        if self.model.gain is None:
            return 0.0
        points = [self.run(crop, q + d, (), {}) for d in (-0.08, 0.08)]
        values = [metric(x_hat, crop, roi) for _, x_hat in points]
        return (values[1] - values[0]) / (points[1][0] - points[0][0])


def psnr(x_hat: Tensor, x: Tensor, roi: Tensor) -> float:
    """Decibels."""
    return weighted_psnr(x_hat, x, torch.ones_like(roi))


def weighted_psnr(x_hat: Tensor, x: Tensor, roi: Tensor) -> float:
    """Decibels."""
    return -10 * math.log10(float(mean_squared_error(x_hat, x, roi) / roi.mean()) / 255**2)


def look_metric(networks: Path | None) -> Metric:
    """MS-SSIM in decibels, or the negative of LPIPS."""
    if networks is None:
        return lambda x_hat, x, _: -10 * math.log10(1 - float(ms_ssim(x_hat, x)))
    files = (networks / f"{name}.safetensors" for name in ("alexnet_features_torchvision", "lpips_v0.1_heads"))
    distance = FeatureDistance(*files)
    return lambda x_hat, x, _: -float(distance(x_hat, x))


def real_file(model: str | None, files: dict[str, str], crop: Tensor) -> dict[str, Any]:
    """A file of one crop with all adapters: its bytes, what it names, and that it decodes with these alone."""
    rgb = (crop[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    settings = {"rate": 0.5, "look": 0.5}  # of gain units: λ = 0.013
    data = promptcodec.encode(
        rgb, 50, model=model, adapters=list(files.values()), roi="64,64,128,128" if "region" in files else None,
        settings={name: value for name, value in settings.items() if name in files},
    )  # fmt: skip
    names = list(promptcodec.info(data).adapters)
    size = promptcodec.load(model).decode_picture(data, adapters=list(files.values())).rgb.shape
    return {"bytes": len(data), "needs": names, "decoded": list(size)}


def table(result: dict[str, Any]) -> str:
    """For docs/steering/methods.md."""
    lines = ["| adapter | alone | in the stack | kept |", "|---|---|---|---|"]
    for name, effect in result["effects"].items():
        alone, stacked = (f"{effect[k]:+.3f} ± {effect[f'{k}_error']:.3f}" for k in ("alone", "stacked"))
        lines.append(f"| {name} | {alone} | {stacked} | {100 * effect['kept']:.0f} % |")
    return "\n".join(lines)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ORDER:
        parser.add_argument(f"--{name}", help="a file, or a name in the package")
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--networks", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--crops", type=int, default=24)
    parser.add_argument("--base-lambda", type=float, default=0.0067, help="what the base is held at, for gain units")
    args = parser.parse_args()
    files = {name: getattr(args, name) for name in ORDER if getattr(args, name) is not None}
    if len(files) < 2:
        parser.error("a stack has two adapters or three")
    model = network_of(promptcodec.load(args.model))
    adapters = {name: load_adapter(path, model).adapter for name, path in files.items()}
    effects = Effects(model, adapters, look_metric(args.networks), args.base_lambda)
    tests = [(crop.x, crop.roi) for crop in crops(args.test, args.crops)]
    result: dict[str, Any] = {"model": model.config.name, "crops": len(tests), "stack": list(files), "effects": {}}
    for name in files:
        alone, stacked = (
            np.array([np.mean([effects.effect(name, names, *pair, q) for q in effects.qs]) for pair in tests])
            for names in ([name], list(files))
        )
        error = [float(np.std(v, ddof=1) / math.sqrt(len(v))) for v in (alone, stacked)]
        result["effects"][name] = {
            "alone": round(float(alone.mean()), 4), "alone_error": round(error[0], 4),
            "stacked": round(float(stacked.mean()), 4), "stacked_error": round(error[1], 4),
            "kept": round(float(stacked.mean() / alone.mean()), 3),
        }  # fmt: skip
        print(name, json.dumps(result["effects"][name]))
    result["file"] = real_file(args.model, files, tests[0][0])
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    replace_marked(PAGE, "stacking", table(result))


if __name__ == "__main__":
    main()
