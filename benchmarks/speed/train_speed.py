"""Training throughput: patches per second of the training step against a plain eager loop of the same model.

    python -m benchmarks.speed.train_speed                     # tic, 256² patches, 2 threads
    python -m benchmarks.speed.train_speed --model small --batch 16
    python -m benchmarks.speed.train_speed --device cuda --batch 64

Both compute forward, backward and the optimiser's step. The plain loop is what one writes first: float32, torch's own
attention, default memory layout, an optimiser that is not fused, figures read after every step. On CPUs with llvmlite
there is a third, ``ours`` without compiled kernels. They alternate, and the best round of each counts: other work on
the machine disturbs all alike. TFLOP/s are set against the best of a large matrix product of the same type, measured in
the same run.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.inference.precision import autocast_pays
from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers import mixers
from promptcodec.model.layers.compiled_windows import kernels_work
from promptcodec.model.presets.registry import PRESETS
from promptcodec.system.allocator import keep_large_blocks
from promptcodec.train.losses.distortion import Distortion
from promptcodec.train.losses.objective import Objective
from promptcodec.train.optimiser import Optimiser
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.progress import flops_per_sample

Step = Callable[[], object]


def plain_step(name: str, x: torch.Tensor) -> Step:
    """The loop that one writes first."""
    model = CompressionModel(PRESETS[name]()).to(x.device)
    networks = torch.optim.Adam([p for n, p in model.named_parameters() if n != "prior.quantiles"], 1e-4, foreach=False)
    quantiles = torch.optim.Adam([model.prior.quantiles], 1e-3, foreach=False)
    q = _rates(model, len(x), x.device)

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def step() -> None:
        with mock.patch.object(mixers, "window_attention", attention):
            out = model(x, q, "noise")
            bpp = sum(-p.log2().sum() for p in out["likelihoods"].values()) / (len(x) * x[0, 0].numel())
            loss = 0.0067 * 255**2 * F.mse_loss(out["x_hat"], x) + bpp
            networks.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=False)
        networks.step()
        quantiles.zero_grad()
        model.prior.quantile_loss().backward()
        quantiles.step()
        loss.item()

    return step


def our_step(name: str, x: torch.Tensor, autocast: bool, compiled: bool) -> tuple[Step, int]:
    """The training step as ``promptcodec train`` runs it, and its floating-point operations."""
    model = channels_last(CompressionModel(PRESETS[name]()).to(x.device))
    objective = Objective(model, Distortion("mse"), "noise", 0.0067, autocast)
    optimiser = Optimiser(model, Recipe().learning_rate)
    flops = flops_per_sample(objective, x.shape[-1], x.device)
    module = torch.compile(objective) if compiled else objective
    x = x.contiguous(memory_format=torch.channels_last)
    q = torch.linspace(0, 1, len(x), device=x.device)

    def step() -> None:
        optimiser.zero_grad()
        module(x, q)[0].backward()
        optimiser.step(1.0)

    return step, flops


def by_torch_alone(step: Step) -> Step:
    """The same step without compiled kernels."""

    def alone() -> None:
        with torch_alone():
            step()

    return alone


def _rates(model: CompressionModel, count: int, device: torch.device) -> torch.Tensor | None:
    return torch.linspace(0, 1, count, device=device) if model.gain is not None else None


def seconds(step: Step, device: torch.device, repeats: int = 1) -> float:
    """Time of ``step``, the mean of ``repeats``."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def peak_tflops(dtype: torch.dtype, device: torch.device) -> float:
    """TFLOP/s of a large matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2e-12 * size**3 / min(seconds(lambda: torch.mm(a, b), device) for _ in range(6))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tic")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="auto", choices=("auto", "bfloat16", "float32"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--results", type=Path, help="also write the figures into this JSON file")
    arguments = parser.parse_args()
    keep_large_blocks()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    x = torch.rand(arguments.batch, 3, arguments.patch, arguments.patch, device=device)
    autocast, why = autocast_pays(arguments.precision, device)
    plain = plain_step(arguments.model, x)
    ours, flops = our_step(arguments.model, x, autocast, arguments.compile)
    steps = {"plain": plain, "ours": ours}
    if device.type == "cpu" and kernels_work():
        steps["torch's"] = by_torch_alone(ours)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(arguments.rounds + 1):
        for name, step in steps.items():
            spent = seconds(step, device, 1 if device.type == "cpu" else 10)
            if i:  # the first round warms up
                times[name].append(spent)
    best = {name: min(values) for name, values in times.items()}
    mixed = torch.bfloat16 if autocast else torch.float32
    print(
        f"{arguments.model}, {arguments.batch} × {arguments.patch}², {device}, torch {torch.__version__}; ours: {why}"
    )
    settings = {key: getattr(arguments, key) for key in ("model", "batch", "patch", "device", "threads")}
    record: dict[str, Any] = settings | {"torch": torch.__version__, "precision": why, "rows": {}}
    for name, spent in best.items():
        tflops, peak = flops * len(x) / spent / 1e12, peak_tflops(torch.float32 if name == "plain" else mixed, device)
        spread = np.percentile(times[name], [0, 50, 100])
        print(
            f"{name:8} {len(x) / spent:8.3f} patches/s  {tflops:7.4f} TFLOP/s, {tflops / peak:.0%} of {peak:.3f} "
            f"(step: best {spread[0]:.2f} s, median {spread[1]:.2f} s, worst {spread[2]:.2f} s)"
        )
        record["rows"][name] = {
            "patches_per_second": round(len(x) / spent, 4), "tflops": round(tflops, 5), "peak_tflops": round(peak, 4),
            "seconds": [round(value, 3) for value in times[name]],
        }  # fmt: skip
    if arguments.results:
        arguments.results.write_text(json.dumps(record, indent=1) + "\n")
    for other in times.keys() - {"ours"}:
        pairs = np.array(times[other]) / np.array(times["ours"])
        print(
            f"ours is {best[other] / best['ours']:.2f} times as fast as {other} "
            f"(round by round: {pairs.min():.2f} to {pairs.max():.2f})"
        )


if __name__ == "__main__":
    main()
