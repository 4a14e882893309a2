"""What prompts gain in the attention stages of a small S2C-Hybrid: a region of interest on the frozen codec.

    python benchmarks/steered_hybrid.py --base runs/s2c-nano/model.safetensors --data train-00.tar --test VAL

Trains ``recipes/steer/s2c-region.toml`` and measures, on a crop of 256² of every test picture with a rectangle of
weight 1 in a surround of 0.25, the weighted PSNR against that of the unsteered base at the same bits per pixel
(estimated).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from steering_effect import Crop, crops

from promptcodec.evaluate.bdrate import quality_at
from promptcodec.model.base import CompressionModel
from promptcodec.model.steering import Steerer
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.objectives import bits_per_pixel, squared_error
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results/steered_hybrid.json"
ANCHOR_QS, QS = (0.15, 0.3, 0.45, 0.6, 0.75), (0.35, 0.6)


def point(model: CompressionModel, crop: Crop, q: float, steering: Steerer | None = None) -> tuple[float, float]:
    """Bits per pixel and weighted PSNR in dB."""
    out = model(crop.x, torch.tensor([q]), "round", steering)
    x_hat = (out["x_hat"].clamp(0, 1) * 255).round() / 255
    error = squared_error(x_hat, crop.x, crop.roi) / crop.roi.mean() / 255**2
    return float(bits_per_pixel(out, crop.x)), float(-10 * error.log10())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--output", type=Path, help="the adapter's file")
    parser.add_argument("--samples", type=int, default=0, help="in place of the recipe's")
    arguments = parser.parse_args()
    changes = {"start": arguments.base, "data": arguments.data, "threads": 1, "watch": 0.0}
    changes |= {"samples": arguments.samples} if arguments.samples else {}
    recipe = Recipe.load(ROOT / "recipes/steer/s2c-region.toml", changes)
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, Path(folder), say=lambda _: None)
        trainer.begin()
        trainer.run()
    seconds = time.process_time() - began
    model, adapter = trainer.averaged(), trainer.averaged_adapter()
    assert adapter is not None
    adapter.eval()
    gains: list[float] = []
    with torch.no_grad():
        for crop in crops(arguments.test):
            curve = [point(model, crop, q) for q in ANCHOR_QS]
            steering = Attached(model.config, [adapter], Controls(maps={"roi": crop.roi}))
            found = [
                (quality, quality_at(curve, rate)) for rate, quality in (point(model, crop, q, steering) for q in QS)
            ]
            gains += [statistics.mean(a - b for a, b in found if b is not None)]
    if arguments.output:
        save_adapter(adapter, model, arguments.output)
    row = {
        "base": model.config.name, "adapter": recipe.adapter, "samples": trainer.samples, "cpu_seconds": round(seconds),
        "parameters": sum(p.numel() for p in adapter.parameters()), "crops": len(gains),
        "gain_db": round(statistics.mean(gains), 4),
        "standard_error_db": round(statistics.stdev(gains) / len(gains) ** 0.5, 4),
        "larger_on": sum(gain > 0 for gain in gains),
    }  # fmt: skip
    RESULTS.write_text(json.dumps(row) + "\n")
    print(json.dumps(row))


if __name__ == "__main__":
    main()
