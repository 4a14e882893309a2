"""What a short training of an adapter on the frozen default model gains on its own metric, at equal bits per pixel.

python benchmarks/steering_effect.py region|look TRAIN_TAR_OR_FOLDER TEST_FOLDER [SECONDS] [ADAPTER_OUT]

24 crops of 256 x 256 pixels of the test pictures. Each steered crop is compared with the unsteered model at the same
rate, by interpolating between its rates; the metric is in decibels. Prints the mean gain and its standard error.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import promptcodec
from promptcodec.codec.picture_io import read
from promptcodec.evaluate.datasets import find_pictures
from promptcodec.model.base import CompressionModel
from promptcodec.model.steering import Steerer
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.fit import Sample, fit
from promptcodec.steer.objectives import bits_per_pixel, look_loss, squared_error, stratified
from promptcodec.steer.pyramid import look, region
from promptcodec.steer.random_region import random_region
from promptcodec.train.ms_ssim import ms_ssim
from promptcodec.train.pictures import load_pictures

CROPS, SIDE, PATCH, BATCH = 24, 256, 192, 6
QS = (0.4, 0.45, 0.5, 0.55, 0.6)


def rectangle(rng: np.random.Generator) -> Tensor:
    """A region of interest, 1 inside and 0.25 outside, (1, 1, SIDE, SIDE)."""
    roi = torch.full((1, 1, SIDE, SIDE), 0.25)
    height, width = rng.integers(SIDE // 4, 3 * SIDE // 4, 2)
    top, left = rng.integers(0, SIDE - height), rng.integers(0, SIDE - width)
    roi[..., top : top + height, left : left + width] = 1.0
    return roi


def quality(family: str, x_hat: Tensor, x: Tensor, roi: Tensor) -> float:
    """The family's metric in decibels."""
    x_hat = (x_hat.clamp(0, 1) * 255).round() / 255
    if family == "region":
        return -10 * math.log10(float(squared_error(x_hat, x, roi) / roi.mean()) / 255**2)
    return -10 * math.log10(1 - float(ms_ssim(x_hat, x)))


def train(family: str, model: CompressionModel, adapter: Adapter, sources: Sequence[str], seconds: float) -> int:
    """Number of steps taken."""
    pictures = [p for p in load_pictures(sources) if min(p.shape[:2]) >= PATCH]
    assert model.gain is not None
    gain = model.gain

    def batch(step: int) -> Sample:
        rng, generator = np.random.default_rng([1, step]), torch.Generator().manual_seed(step)
        crops = []
        for i in rng.integers(len(pictures), size=BATCH):
            height, width = pictures[i].shape[:2]
            y, x = rng.integers(height - PATCH + 1), rng.integers(width - PATCH + 1)
            crops.append(torch.from_numpy(pictures[i][y : y + PATCH, x : x + PATCH].copy()).permute(2, 0, 1))
        rois = torch.stack([random_region(PATCH, PATCH, generator=generator) for _ in range(BATCH)])
        controls = Controls({"look": torch.rand(BATCH, generator=generator)}, {"roi": rois})
        return Sample(torch.stack(crops).float() / 255, controls, 0.3 + 0.4 * stratified(BATCH, generator))

    def loss(out, sample: Sample) -> Tensor:  # type: ignore[no-untyped-def]
        assert sample.q is not None
        rate_lambda = gain.rate_lambda(sample.q)
        if family == "look":
            share = sample.controls.scalar("look")
            return look_loss(out, sample.x, share, rate_lambda, lambda a, b: 1 - ms_ssim(a, b), 25.0)
        error = squared_error(out["x_hat"], sample.x, sample.controls.map("roi"))
        return ((rate_lambda * error + bits_per_pixel(out, sample.x)) / rate_lambda.sqrt()).mean()

    started = time.monotonic()
    fit(model, [adapter], batch, loss, 4, learning_rate=1e-4)  # how long a step takes
    steps = max(8, int(seconds / (time.monotonic() - started) * 4))
    fit(model, [adapter], batch, loss, steps, learning_rate=1e-3)
    return steps


@torch.no_grad()
def main(family: str, sources: str, folder: str, seconds: str = "60", out: str = "") -> None:
    """Train, measure, print."""
    torch.manual_seed(0)
    codec = promptcodec.load()
    model, base = codec.network, codec.network.config
    makers: dict[str, Callable[[], Adapter]] = {"region": lambda: region(base), "look": lambda: look(base)}
    with torch.enable_grad():
        adapter = makers[family]()
        steps = train(family, model, adapter, [sources], float(seconds))
    rng, gains = np.random.default_rng(0), []
    for path in find_pictures([Path(folder)])[:CROPS]:
        rgb = read(path).rgb
        y, x = (int(rng.integers(size - SIDE + 1)) for size in rgb.shape[:2])
        crop = torch.from_numpy(rgb[y : y + SIDE, x : x + SIDE].copy()).permute(2, 0, 1)[None].float() / 255
        roi = rectangle(rng)

        def point(q: float, steering: Steerer | None, crop: Tensor = crop, roi: Tensor = roi) -> tuple[float, float]:
            found = model(crop, torch.tensor([q]), "round", steering)
            return math.log(float(bits_per_pixel(found, crop))), quality(family, found["x_hat"], crop, roi)

        curve = np.array([point(q, None) for q in QS])
        steering = Attached(base, [adapter], Controls({"look": torch.ones(1)}, {"roi": roi}))
        rate, metric = point(0.5, steering)
        gains.append(metric - float(np.interp(rate, *curve.T)))
    error = float(np.std(gains, ddof=1) / math.sqrt(len(gains)))
    result = {"family": family, "steps": steps, "seconds": float(seconds), "crops": len(gains),
              "gain_db": round(float(np.mean(gains)), 4), "standard_error": round(error, 4)}  # fmt: skip
    print(json.dumps(result))
    if out:
        save_adapter(adapter, model, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
