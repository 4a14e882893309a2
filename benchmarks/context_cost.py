"""What coding latents costs with each context model, and how far float64 results are apart between settings.

    python benchmarks/context_cost.py time [--size 768x512] [--threads 1] [MODEL ...]
    python benchmarks/context_cost.py deviation

Random weights: cost and rounding do not depend on what a network has learned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor

from promptcodec.codec.latents import LatentCoder
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets import PRESETS
from promptcodec.model.schedule import Step, run
from promptcodec.zoo.model_file import StoredModel
from promptcodec.zoo.prior_tables import prior_tables

TIMED = ("tic", "tic-context", "elic", "s2c-conv")
COMPARED = ("tic-context", "elic", "s2c-conv")
SETTINGS = {
    "two threads": {"threads": "2"},
    "oneDNN off": {"onednn": "off"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "no vector instructions, SSE4.1": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
    },
}  # fmt: skip


def network(name: str) -> CompressionModel:
    torch.manual_seed(0)
    return CompressionModel(PRESETS[name]()).eval()


def timed(name: str, width: int, height: int) -> dict[str, object]:
    """Seconds of encoding and decoding the latents of a picture, and of the context model's networks alone."""
    model = network(name)
    coder = LatentCoder(StoredModel(name, "untrained", model, prior_tables(model.prior), b"", b""))
    y = torch.randn(1, model.config.latent_channels, height // 16, width // 16) * 2
    z = torch.randn(1, model.config.hyper_channels, height // 64, width // 64) * 2
    start = time.perf_counter()
    coded = coder.encode(y, z, 0.0)
    middle = time.perf_counter()
    coder.decode(coded, height, width, 0.0)
    end = time.perf_counter()
    row: dict[str, object] = {
        "model": name, "encode_s": round(middle - start, 2), "decode_s": round(end - middle, 2),
    }  # fmt: skip
    if model.context is None:
        return row
    for dtype in (torch.float64, torch.float32):
        context, hyper_synthesis = model.context.to(dtype), model.h_s.to(dtype)
        with torch.inference_mode():
            hyper = hyper_synthesis(z.to(dtype))
            start = time.perf_counter()
            run(context.steps(hyper), lambda step: step.mean.round(), tuple(y.shape))
        row[f"context_{str(dtype).removeprefix('torch.')}_s"] = round(time.perf_counter() - start, 2)
    return row


def parameters(name: str, z: Tensor, y: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Scales and means of all steps, teacher-forced on y, in float64: (2, 1, M, h, w)."""
    model = network(name).double()
    model.load_state_dict(state)
    assert model.context is not None
    found = torch.zeros(2, *y.shape, dtype=torch.float64)

    def code(step: Step) -> Tensor:
        found[0][step.where], found[1][step.where] = step.scale, step.mean
        return y[step.where]

    with torch.inference_mode():
        run(model.context.steps(model.h_s(z)), code, tuple(y.shape))
    return found


def probe(folder: Path) -> None:
    """In a process of its own settings: the largest deviation of every model from what ``folder`` holds."""
    for name in COMPARED:
        held = torch.load(folder / f"{name}.pt", weights_only=True)
        difference = (parameters(name, held["z"], held["y"], held["state"]) - held["found"]).abs().max()
        print(json.dumps({"model": name, "deviation": float(difference)}))


def deviation() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in COMPARED:
            model = network(name).double()
            z = torch.randn(1, model.config.hyper_channels, 4, 6, dtype=torch.float64).mul(3).round()
            y = torch.randn(1, model.config.latent_channels, 16, 24, dtype=torch.float64).mul(600).round() / 256
            state = model.state_dict()
            held = {"z": z, "y": y, "state": state, "found": parameters(name, z, y, state)}
            torch.save(held, Path(folder) / f"{name}.pt")
        for setting, variables in SETTINGS.items():
            command = [
                sys.executable,
                __file__,
                "probe",
                folder,
                variables.get("threads", "1"),
                variables.get("onednn", "on"),
            ]
            environment = {k: v for k, v in variables.items() if k.isupper() or "_" in k}
            done = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True)
            for line in done.stdout.splitlines():
                print(json.dumps({"setting": setting, **json.loads(line)}))


def main() -> None:
    if sys.argv[1:2] == ["probe"]:
        torch.set_num_threads(int(sys.argv[3]))
        torch.backends.mkldnn.set_flags(sys.argv[4] == "on")
        return probe(Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "deviation"])
    parser.add_argument("models", nargs="*", default=TIMED)
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.what == "deviation":
        return deviation()
    torch.set_num_threads(options.threads)
    width, height = map(int, options.size.split("x"))
    for name in options.models:
        print(json.dumps(timed(name, width, height)), flush=True)
    return None


if __name__ == "__main__":
    main()
