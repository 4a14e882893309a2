"""Training and decoding speed by backbone, ours against a plain eager version: paper 004's throughput and latency.

    python -m benchmarks.speed.backbone_speed --model tic --append benchmarks/results/backbone_speed.jsonl
    python -m benchmarks.speed.backbone_speed --report benchmarks/results/backbone_speed.jsonl

*Training*: crops of 256² a second through forward, backward and the optimiser's step (see ``train_speed.py``).
*Decoding*: a picture of ``--size``. ``networks`` runs the hyper synthesis, the context and the synthesis in float32,
ours and plain; ``file`` is the whole decoder, from the bytes of a file to pixels, with its probabilities in float64 and
the coder, which has no plain counterpart. The plain version uses torch's layers and attention as they come, on whole
maps, in torch's own memory layout. Weights are random. ``--device cuda`` runs networks and training there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.speed.train_speed import our_step, plain_step
from promptcodec.evaluate.cost.bench import untrained
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.entropy.schedule import run
from promptcodec.model.inference.precision import autocast_pays
from promptcodec.model.layers import mixers, pointwise, s2c
from promptcodec.model.layers.blocks import Block
from promptcodec.model.presets.registry import PRESETS
from promptcodec.system.allocator import keep_large_blocks


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Torch's layers as they come, for as long as this lasts."""

    def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)

    def linear(x: torch.Tensor, layer: nn.Linear) -> torch.Tensor:
        return F.linear(x, layer.weight, layer.bias)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(mixers, "window_attention", attention))
        for module in (mixers, s2c, pointwise):
            stack.enter_context(mock.patch.object(module, "linear", linear))
        stack.enter_context(mock.patch.object(pointwise, "linear_gelu", lambda x, layer: F.gelu(linear(x, layer))))
        stack.enter_context(mock.patch.object(Block, "_in_strips_helps", lambda *_: False))
        yield


def networks(model: CompressionModel, width: int, height: int, device: torch.device) -> Callable[[], None]:
    """A decoder's networks, from z to pixels; what the file says is replaced by the nearest whole mean."""
    cfg = model.config
    z = torch.zeros(1, cfg.hyper_channels, height // 64, width // 64, device=device)
    shape = (1, cfg.latent_channels, height // 16, width // 16)
    q = torch.full((1,), 0.5, device=device) if model.gain is not None else None

    def decode() -> None:
        gains = model.gains(q)
        y_hat = run(model.schedule(z, gains), lambda step: step.mean.round(), shape)
        model.g_s(y_hat * gains.y_inverse)

    return decode


def least(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Least seconds of ``repeats`` runs after a first one."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:]) if repeats else times[0]


def training(name: str, batch: int, repeats: int, device: torch.device) -> dict[str, float]:
    """Crops a second, ours and plain."""
    x = torch.rand(batch, 3, 256, 256, device=device)
    autocast, _ = autocast_pays("auto", device)
    ours, _ = our_step(name, x, autocast, compiled=False)
    rates = {"train_ours": round(batch / least(ours, repeats, device), 3)}
    step = plain_step(name, x)
    with plain():
        return rates | {"train_plain": round(batch / least(step, repeats, device), 3)}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Every figure of one model; ours and plain one after the other."""
    device, repeats = torch.device(arguments.device), arguments.repeats
    width, height = (int(side) for side in arguments.size.split("x"))
    row: dict[str, Any] = {"model": name, "size": arguments.size, "device": arguments.device}
    row |= {"threads": arguments.threads, "repeats": repeats}
    if arguments.training:
        row |= training(name, arguments.batch, repeats, device)
    torch.manual_seed(0)
    model = CompressionModel(PRESETS[name]()).eval().to(device)
    with plain(), torch.no_grad():
        row["networks_plain_s"] = round(least(networks(model, width, height, device), repeats, device), 3)
    with torch.inference_mode():
        row["networks_ours_s"] = round(least(networks(channels_last(model), width, height, device), repeats, device), 3)
    del model
    if arguments.file and device.type == "cpu":
        codec = untrained(name)
        picture = np.tile(np.arange(256, dtype=np.uint8), (height, width // 256))[:, :, None].repeat(3, 2)
        data = codec.encode(picture)
        row["file_s"] = round(least(lambda: codec.decode_picture(data), repeats, device), 3)
    return row | {"torch": torch.__version__}


def report(path: Path) -> None:
    """A table for people, in Markdown; of what was measured twice of a model on a device, the last."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in map(json.loads, path.read_text().splitlines()):
        rows.setdefault((row["model"], row["device"]), {}).update(row)
    print("| model | patches/s, ours / plain | picture | decoder's networks: s, ours / plain | whole file, s |")
    print("|---|---|---|---|---|")
    for row in rows.values():
        trained, plainly = row.get("train_ours"), row.get("train_plain")
        speed = f"{trained:.2f} / {plainly:.2f} ({trained / plainly:.1f}×)" if trained and plainly else "–"
        ours, other = row["networks_ours_s"], row["networks_plain_s"]
        decoding, whole = f"{ours:.2f} / {other:.2f} ({other / ours:.1f}×)", row.get("file_s", "–")
        print(f"| {row['model']} | {speed} | {row['size']} | {decoding} | {whole} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--size", default="2048x1152", help="of the decoded picture, multiples of 256 and 64")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--file", action=argparse.BooleanOptionalAction, default=True, help="time the whole decoder")
    parser.add_argument("--training", action=argparse.BooleanOptionalAction, default=True, help="time training steps")
    parser.add_argument("--append", type=Path)
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    if arguments.report:
        report(arguments.report)
        return
    keep_large_blocks()
    torch.set_num_threads(arguments.threads)
    for name in arguments.model:
        row = json.dumps(measure(name, arguments))
        print(row, flush=True)
        if arguments.append:
            with arguments.append.open("a") as file:
                file.write(row + "\n")


if __name__ == "__main__":
    main()
