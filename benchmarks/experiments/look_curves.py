"""Paper 000's comparison of ways of conditioning (its Figs. 10 to 12), at the size of the shipped model.

python -m benchmarks.experiments.look_curves --data train-00.tar --test KODAK --networks NETWORKS [--seconds 120]

Prompts, SFT and beta, on both sides of the frozen model, are trained for the pair (LPIPS, PSNR) for so many seconds of
CPU time each, by the recipes of steering_effect.py beside it, and measured on its 24 crops at looks 0 to 1 and three
rates: bits per pixel (the model's estimate), PSNR, LPIPS of AlexNet. Results are kept in
benchmarks/results/look_curves.json (what is there is not trained again) and drawn into docs/figures/look-curves.png and
a table in docs/steering/experiments.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.experiments.families import FAMILIES
from benchmarks.experiments.steering_effect import PAGE, RESULTS, ROOT, Crop, Metrics, crops, points, train
from benchmarks.marked import replace_marked
from promptcodec.evaluate.bdrate import quality_at
from promptcodec.evaluate.pages.plots import new_figure, save_figure
from promptcodec.model.base import CompressionModel
from promptcodec.model.steering import Steerer
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls

KEPT, FIGURE = RESULTS / "look_curves.json", ROOT / "docs" / "figures" / "look-curves.png"
METHODS = {"look-lpips": "prompts", "sft": "SFT", "beta": "beta"}
LOOKS, QS, BASE_QS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (0.25, 0.45, 0.65), (0.1, 0.2, 0.3, 0.42, 0.54, 0.66, 0.8)
NAMES = ("psnr", "lpips")


def means(
    metrics: Metrics, model: CompressionModel, tests: list[Crop], qs: tuple[float, ...], steerer: Steerer | None
) -> list[list[float]]:
    """For each rate: bits per pixel, PSNR, LPIPS, means over the crops."""
    rows = []
    for q in qs:
        averages = np.mean([points(metrics, model, crop, q, steerer, NAMES) for crop in tests], axis=0)
        rows.append([round(float(v), 5) for v in (averages[0], averages[1], -averages[2])])
    return rows


def measure(name: str, metrics: Metrics, data: list[str], tests: list[Crop], seconds: float) -> dict[str, Any]:
    """Train one method and measure it at all looks."""
    torch.manual_seed(0)
    with torch.enable_grad():
        model, adapter, samples = train(FAMILIES[name], "nano", metrics, data, seconds)
    curves = {}
    for look in LOOKS:
        steering = Attached(model.config, [adapter], Controls({"look": torch.tensor([look])}))
        curves[f"{look:g}"] = means(metrics, model, tests, QS, steering)
    return {"samples": samples, "parameters": sum(p.numel() for p in adapter.parameters()), "curves": curves}


def draw(kept: dict[str, Any]) -> None:
    """A column a method, PSNR above LPIPS, a line a look."""
    figure = new_figure(11, 6.2)
    first: list[Any] = [None, None]
    colours = [(0.85 * v, 0.25, 0.9 - 0.75 * v) for v in LOOKS]
    for column, (name, title) in enumerate(METHODS.items()):
        for row, label in enumerate(("PSNR (dB)", "LPIPS, AlexNet (lower is better)")):
            axes = figure.add_subplot(2, 3, 3 * row + column + 1, sharex=first[0], sharey=first[row])
            first[row] = first[row] or axes
            axes.plot(*zip(*[(p[0], p[1 + row]) for p in kept["base"]], strict=True), "k--", label="no steering")
            for look, colour in zip(LOOKS, colours, strict=True):
                curve = kept["methods"][name]["curves"][f"{look:g}"]
                axes.plot(
                    [p[0] for p in curve], [p[1 + row] for p in curve], "o-", color=colour, label=f"λ = {look:g}", ms=3
                )
            axes.grid(alpha=0.3)
            if row == 0:
                axes.set_title(title)
            else:
                axes.set_xlabel("bits per pixel")
            if column == 0:
                axes.set_ylabel(label)
    first[1].invert_yaxis()
    figure.legend(*first[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8.5, frameon=False)
    save_figure(figure, FIGURE)


def table(kept: dict[str, Any]) -> str:
    """What each method moves at equal rate, at both ends, means over the three rates."""
    lines = [
        "| method | parameters | crops trained on | look 0: PSNR, LPIPS | look 1: PSNR, LPIPS |",
        "|---|---|---|---|---|",
    ]
    for name, title in METHODS.items():
        method = kept["methods"][name]
        cells = [_moved(kept["base"], method["curves"][look]) for look in ("0", "1")]
        lines.append(f"| {title} | {method['parameters']:,} | {method['samples']:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _moved(base: list[list[float]], curve: list[list[float]]) -> str:
    """PSNR and LPIPS beyond the base's at equal rate."""
    moved = []
    for i, sign in ((1, 1), (2, -1)):  # a quality grows with the rate
        plain = [quality_at([(b[0], sign * b[i]) for b in base], point[0]) for point in curve]
        moved.append(np.mean([p[i] - sign * v for p, v in zip(curve, plain, strict=True) if v is not None]))
    return f"{moved[0]:+.2f} dB, {moved[1]:+.4f}"


@torch.no_grad()
def main() -> None:
    """Train, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, help="what is trained on")
    parser.add_argument("--test", type=Path, required=True, help="other pictures")
    parser.add_argument("--networks", type=Path, required=True, help="AlexNet and the heads of LPIPS")
    parser.add_argument("--seconds", type=float, default=120.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    metrics, tests, base = Metrics(options.networks), crops(options.test), promptcodec.load()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if kept.get("model") != base.fingerprint:
        kept = {
            "model": base.fingerprint,
            "base": means(metrics, network_of(base), tests, BASE_QS, None),
            "methods": {},
        }
    for name in METHODS:
        if name not in kept["methods"]:
            kept["methods"][name] = measure(name, metrics, options.data, tests, options.seconds)
            KEPT.write_text(json.dumps(kept, indent=1) + "\n")
    draw(kept)
    replace_marked(PAGE, "look-curves", table(kept))


if __name__ == "__main__":
    main()
