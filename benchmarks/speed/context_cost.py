"""What coding latents costs with each context model.

    python -m benchmarks.speed.context_cost [--size 768x512] [--threads 1] [MODEL ...]

Random weights: cost does not depend on what a network has learned.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from promptcodec.codec.latents import LatentCoder
from promptcodec.model.arrays import Analysis
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import run
from promptcodec.model.inference.exact_hyper import ExactHyper
from promptcodec.model.presets.registry import PRESETS
from promptcodec.store.prior_tables import prior_tables

TIMED = ("tic", "tic-context", "elic", "s2c-conv")


def network(name: str) -> CompressionModel:
    torch.manual_seed(0)
    return CompressionModel(PRESETS[name]()).eval()


def timed(name: str, width: int, height: int) -> dict[str, object]:
    """Seconds of encoding and decoding the latents of a picture, and of the context model's networks alone."""
    model = network(name)
    coder = LatentCoder(ExactHyper(model, prior_tables(model.prior)))
    y = torch.randn(1, model.config.latent_channels, height // 16, width // 16) * 2
    z = torch.randn(1, model.config.hyper_channels, height // 64, width // 64) * 2
    start = time.perf_counter()
    coded = coder.encode(Analysis(y.numpy(), z.numpy()), 0.0)
    middle = time.perf_counter()
    coder.decode_both(coded, height, width, 0.0)
    end = time.perf_counter()
    row: dict[str, object] = {
        "model": name, "encode_s": round(middle - start, 2), "decode_s": round(end - middle, 2),
    }  # fmt: skip
    if model.context is None or isinstance(model.context, ContextualMean):
        return row  # the latter has no networks of its own in each step
    for dtype in (torch.float64, torch.float32):
        context, hyper_synthesis = model.context.to(dtype), model.h_s.to(dtype)
        with torch.inference_mode():
            hyper = hyper_synthesis(z.to(dtype))
            start = time.perf_counter()
            run(context.steps(hyper), lambda step: step.mean.round(), tuple(y.shape))
        row[f"context_{str(dtype).removeprefix('torch.')}_s"] = round(time.perf_counter() - start, 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=TIMED)
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    width, height = map(int, options.size.split("x"))
    for name in options.models:
        print(json.dumps(timed(name, width, height)), flush=True)


if __name__ == "__main__":
    main()
