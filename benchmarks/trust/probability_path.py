"""A model's path to a probability alone: its networks, random latents for them, and runs of its schedule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import promptcodec
from benchmarks.trust.intermediates import Intermediates, Seen
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.exact import GRID, choose_offsets, quantise_parameters
from promptcodec.codec.latents import LatentCoder
from promptcodec.codec.one_shot import OneShotCoder, SymbolCoder
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model, Resample, Transform
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import Schedule, Step, all_at_once, run
from promptcodec.model.presets.registry import PRESETS
from promptcodec.store.model_file import StoredModel
from promptcodec.store.shipped import shipped_models

# Spread of the means, so that many bins occur; with more, what a context makes of its own past grows without end.
WANTED = {"SpaceChannelContext": 2.0, "CausalContext": 0.5}


# A path to a probability: of models with contextual means, that of scales alone.
ProbabilityPath = LatentCoder | SymbolCoder


def coder(name: str) -> ProbabilityPath:
    """Of the shipped model where there is one, else of weights made of integers."""
    if name in shipped_models():
        shipped = promptcodec.load(name).coder
        return shipped.symbols if isinstance(shipped, OneShotCoder) else shipped
    network = CompressionModel(_without_transforms(PRESETS[name]())).eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for key, value in network.named_parameters():
            fan_in = value[0].numel() if value.dim() > 1 else 1
            integers = rng.integers(-(2**10), 2**10, value.shape).astype(np.float64) / 2**10
            width = math.sqrt(3 / fan_in) if value.dim() > 1 else 0.1
            norm = value.dim() == 1 and key.endswith("weight")
            value.copy_(torch.from_numpy(norm + integers * width).half().float())
    stored = StoredModel(name, "integers", network, gaussian_tables(), b"", b"")
    scales_alone = isinstance(network.context, ContextualMean)
    path = SymbolCoder if scales_alone else LatentCoder
    one = path(stored)
    z, q, shape = random_latents(one, 4, np.random.default_rng(4))
    steps = forced(one, z, q, torch.from_numpy(rng.integers(-1000, 1001, shape) / GRID), Seen())
    heads = list(_heads(network))
    with torch.no_grad():
        wanted = WANTED.get(type(network.context).__name__, 8.0)
        for i, head in enumerate(heads):
            spread = float(steps[i * len(steps) // len(heads)][0 if scales_alone else 1].std())
            for parameter in head.parameters():
                parameter.mul_(2.0 ** round(math.log2(wanted / spread)))
    return path(stored)


def steps_of(one: ProbabilityPath, z: Tensor, q: float) -> Schedule:
    """The steps in which what decides tables is made; means that decide none stand as zeros."""
    if isinstance(one, LatentCoder):
        return one.schedule(z, q)
    log_scale = one.log_scales(z, q)
    return all_at_once(log_scale, torch.zeros_like(log_scale))


def _without_transforms(cfg: Model) -> Model:
    """The same path to a probability, with nothing else around it."""
    latent, hyper = (Resample("down", channels, 1, 1) for channels in (cfg.latent_channels, cfg.hyper_channels))
    return dataclasses.replace(
        cfg, analysis=Transform(3, (latent,)), hyper_analysis=Transform(cfg.latent_channels, (hyper,)),
        synthesis=Transform(cfg.latent_channels, (Resample("down", 3, 1, 1),)),
    )  # fmt: skip


def _heads(network: CompressionModel) -> Iterator[nn.Module]:
    """The last layers on the path to a probability."""
    context = network.context
    ends: Iterable[nn.Module] = [network.h_s]
    if context is not None and not isinstance(context, ContextualMean):
        ends = getattr(context, "aggregation", None) or [context.parameters_net]
    for end in ends:
        weighted = ((m, getattr(m, "weight", None)) for m in end.modules())
        yield [m for m, weight in weighted if isinstance(weight, Tensor) and weight.dim() > 1][-1]


def random_latents(
    one: ProbabilityPath, count: int, rng: np.random.Generator, prior: bool = False
) -> tuple[Tensor, float, tuple[int, ...]]:
    """Integers of z (count, N, s, s) of all magnitudes, a rate, and the shape of y; s is 1 before a context, else 2.

    With ``prior`` every element is drawn by itself from the table that codes it, as z of pictures are distributed.
    """
    side = 1 if isinstance(one, LatentCoder) and one.context is not None else 2
    shape = (count, one.config.hyper_channels, side, side)
    if prior:
        z = torch.from_numpy(_prior_samples(one, count * side**2, rng).reshape(shape))
    else:
        spread = 2.0 ** rng.integers(-1, 5, (count, shape[1], 1, 1))
        z = torch.from_numpy((rng.integers(-1000, 1001, shape) / 500 * spread).round())
    q = int(rng.integers(0, 65_536)) / 65_535 if one.hyper.gain is not None else 0.0
    return z, q, (count, one.config.latent_channels, 4 * side, 4 * side)


def _prior_samples(one: ProbabilityPath, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Symbols of z (count, N) by the frequencies of each channel's table, without the escape."""
    tables = one.hyper_tables
    drawn = [
        offset + rng.choice(len(table) - 1, count, p=table[:-1] / table[:-1].sum())
        for table, offset in zip(tables.frequencies, tables.offsets, strict=True)
    ]
    return np.stack(drawn, 1).astype(np.float64)


@torch.inference_mode()
def forced(
    one: ProbabilityPath, z: Tensor, q: float, y_hat: Tensor, mode: Intermediates
) -> list[tuple[Tensor, Tensor]]:
    """log sigma and mean of every step, with ``mode`` watching the networks; y_hat is what the schedule is told."""
    found = []

    def code(step: Step) -> Tensor:
        mode.off = True
        found.append((step.scale.clone(), step.mean.clone()))
        part = y_hat[step.where]
        mode.off = False
        return part

    with mode:
        run(steps_of(one, z, q), code, tuple(y_hat.shape))
    return found


@torch.inference_mode()
def coded(
    one: ProbabilityPath, z: Tensor, q: float, rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[Any, Tensor]:
    """Of every step offsets, bins, means, and where; and ŷ of random symbols: what an encoder settles."""
    steps = []

    def code(step: Step) -> Tensor:
        offsets = choose_offsets(step.scale, step.mean)
        settled = quantise_parameters(step.scale, step.mean, offsets)
        steps.append((offsets, settled, step.scale.clone(), step.mean.clone()))
        symbols = torch.from_numpy(rng.integers(-4, 5, tuple(settled.means.shape)))
        return symbols + settled.means / GRID

    y_hat = run(steps_of(one, z, q), code, shape)
    return steps, y_hat
