"""Where a model's time goes by the kind of its layers: mixers, feed-forward halves, resampling (paper 004, Fig. 2)."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from promptcodec.evaluate.cost.memory import begin_peak, peak_mib
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import STRIDE
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import run
from promptcodec.model.layers.blocks import Block, Stage
from promptcodec.model.layers.transforms import Transform

Result = TypeVar("Result")


@torch.inference_mode()
def layer_times(model: CompressionModel, height: int, width: int, repeats: int = 3) -> dict[tuple[str, str], float]:
    """Measure the least seconds of ``repeats`` runs by (network, kind), one picture of random pixels, float32 on the
    CPU.

    Norms count with what follows them. The context runs step by step, as a decoder runs it, but in float32.
    """
    rows, cols = -(-height // STRIDE), -(-width // STRIDE)
    latent, hyper = model.config.latent_channels, model.config.hyper_channels
    inputs = {"g_a": (3, 64), "h_a": (latent, 4), "h_s": (hyper, 1), "g_s": (latent, 4)}
    times: dict[tuple[str, str], float] = defaultdict(float)
    for name, (channels, scale) in inputs.items():
        x = torch.rand(1, channels, rows * scale, cols * scale)
        for kind, seconds in _transform(getattr(model, name), x, repeats):
            times[name, kind] += seconds
    if isinstance(model.context, ContextualMean):
        z, log_scale = torch.rand(1, hyper, rows, cols), torch.rand(1, latent, 4 * rows, 4 * cols)
        _, seconds = _timed(
            lambda: run(model.means(z, log_scale, 1.0), lambda step: step.mean.round(), tuple(log_scale.shape)), repeats
        )
        times["context", "context"] = seconds
    elif model.context is not None:
        features = torch.rand(1, model.config.hyper_synthesis.out_channels, 4 * rows, 4 * cols)
        context, shape = model.context, (1, latent, 4 * rows, 4 * cols)
        _, seconds = _timed(lambda: run(context.steps(features), lambda step: step.mean.round(), shape), repeats)
        times["context", "context"] = seconds
    return dict(times)


@torch.inference_mode()
def network_memory(model: CompressionModel, height: int, width: int) -> dict[str, float] | None:
    """Measure the MiB that one picture takes beside the weights: networks of ``encode`` (g_a, h_a) and of ``decode``
    (the others).

    The largest resident size on the way, less that at rest; None where the system does not tell. Run before anything
    large, since a heap that has grown already hides what fits into it. The context runs in float32.
    """
    rows, cols = -(-height // STRIDE), -(-width // STRIDE)
    x = torch.rand(1, 3, rows * STRIDE, cols * STRIDE)
    memory = {}
    y, z = x, x
    for name in ("encode", "decode"):
        if not begin_peak() or (rest := peak_mib()) is None:
            return None
        if name == "encode":
            y = model.g_a(x)
            z = model.h_a(y)
        else:
            gains = model.gains(None if model.gain is None else torch.full((1,), 0.5))
            y_hat = run(model.schedule(z.round(), gains), lambda step: step.mean.round(), tuple(y.shape))
            model.g_s(y_hat)
        memory[name] = round((peak_mib() or rest) - rest, 1)
    return memory


def weights_mib(model: nn.Module) -> float:
    """Return the miB of the parameters, as they are held in memory."""
    return round(sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20, 1)


def _transform(transform: Transform, x: torch.Tensor, repeats: int) -> list[tuple[str, float]]:
    times = []
    for layer in transform.layers:
        if not isinstance(layer, Stage):
            kind = "resampling" if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) else "convolutions"
            kind = "resampling" if any(isinstance(m, nn.PixelShuffle) for m in layer.children()) else kind
            x, seconds = _timed(lambda layer=layer, x=x: layer(x), repeats)  # type: ignore[misc]
            times.append((kind, seconds))
            continue
        tokens = x.permute(0, 2, 3, 1).contiguous()
        for block in layer.blocks:
            assert isinstance(block, Block)
            for kind, norm, half in (("mixer", block.norm1, block.mixer), ("ffn", block.norm2, block.ffn)):
                if half is not None:
                    out, seconds = _timed(lambda h=half, n=norm, t=tokens: h(n(t)), repeats)  # type: ignore[misc]
                    tokens = tokens + out
                    times.append((kind, seconds))
        x = tokens.permute(0, 3, 1, 2)
    return times


def _timed(work: Callable[[], Result], repeats: int) -> tuple[Result, float]:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        best = min(best, time.perf_counter() - start)
    return result, best
