"""A model's path to a probability alone: its networks, random latents for them, and runs of its schedule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import promptcodec
from benchmarks.trust.intermediates import Intermediates, Seen
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.exact import GRID, choose_offsets, quantise_parameters
from promptcodec.codec.latents import run
from promptcodec.model import config
from promptcodec.model.arrays import EVERYWHERE, Float64s, Step, Steps
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model, Resample, Transform
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.inference.exact_hyper import ExactHyper
from promptcodec.model.presets.registry import PRESETS
from promptcodec.store.shipped import shipped_models

# Spread of the means, so that many bins occur; with more, what a context makes of its own past grows without end.
WANTED = {"SpaceChannelContext": 2.0, "CausalContext": 0.5}


def hyper_networks(name: str) -> ExactHyper:
    """Of the shipped model where there is one, else of weights made of integers."""
    if name in shipped_models():
        shipped = promptcodec.load(name).backend.hyper
        assert isinstance(shipped, ExactHyper)
        return shipped
    network = CompressionModel(_without_transforms(PRESETS[name]())).eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for key, value in network.named_parameters():
            fan_in = value[0].numel() if value.dim() > 1 else 1
            integers = rng.integers(-(2**10), 2**10, value.shape).astype(np.float64) / 2**10
            width = math.sqrt(3 / fan_in) if value.dim() > 1 else 0.1
            norm = value.dim() == 1 and key.endswith("weight")
            value.copy_(torch.from_numpy(norm + integers * width).half().float())
    one = ExactHyper(network, gaussian_tables())
    scales_alone = isinstance(network.context, ContextualMean)
    z, q, shape = random_latents(one, 4, np.random.default_rng(4))
    steps = forced(one, z, q, rng.integers(-1000, 1001, shape) / GRID, Seen())
    heads = list(_heads(network))
    with torch.no_grad():
        target = WANTED.get(type(network.context).__name__, 8.0)
        for i, head in enumerate(heads):
            spread = float(steps[i * len(steps) // len(heads)][0 if scales_alone else 1].std())
            for parameter in head.parameters():
                parameter.mul_(2.0 ** round(math.log2(target / spread)))
    return ExactHyper(network, gaussian_tables())


def steps_of(one: ExactHyper, z: NDArray[np.int32], q: float) -> Steps:
    """The steps in which what decides tables is made; means that decide none stand as zeros."""
    if not isinstance(one.config.context, config.ContextualMean):
        yield from one.schedule(z, q)
        return
    log_sigma = one.log_scales(z, q)
    yield Step(EVERYWHERE, log_sigma, np.zeros_like(log_sigma))


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
        yield [m for m, weight in weighted if isinstance(weight, torch.Tensor) and weight.dim() > 1][-1]


def random_latents(
    one: ExactHyper, count: int, rng: np.random.Generator, prior: bool = False
) -> tuple[NDArray[np.int32], float, tuple[int, ...]]:
    """Integers of z (count, N, s, s) of all magnitudes, a rate, and the shape of y; s is 1 before a context, else 2.

    With ``prior`` every element is drawn by itself from the table that codes it, as z of pictures are distributed.
    """
    side = 1 if one.context is not None else 2
    shape = (count, one.config.hyper_channels, side, side)
    if prior:
        z = _prior_samples(one, count * side**2, rng).reshape(shape)
    else:
        spread = 2.0 ** rng.integers(-1, 5, (count, shape[1], 1, 1))
        z = np.rint(rng.integers(-1000, 1001, shape) / 500 * spread)
    q = int(rng.integers(0, 65_536)) / 65_535 if one.gain is not None else 0.0
    return z.astype(np.int32), q, (count, one.config.latent_channels, 4 * side, 4 * side)


def _prior_samples(one: ExactHyper, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Symbols of z (count, N) by the frequencies of each channel's table, without the escape."""
    tables = one.tables
    drawn = [
        offset + rng.choice(len(table) - 1, count, p=table[:-1] / table[:-1].sum())
        for table, offset in zip(tables.frequencies, tables.offsets, strict=True)
    ]
    return np.stack(drawn, 1).astype(np.float64)


def forced(
    one: ExactHyper, z: NDArray[np.int32], q: float, y_hat: Float64s, mode: Intermediates
) -> list[tuple[Float64s, Float64s]]:
    """log sigma and mean of every step, with ``mode`` watching the networks; y_hat is what the schedule is told."""
    parameters = []

    def code(step: Step) -> Float64s:
        parameters.append((step.log_sigma.copy(), step.mean.copy()))
        part: Float64s = y_hat[step.where]
        return part

    with mode:
        run(steps_of(one, z, q), code, y_hat.shape)
    return parameters


def coded(
    one: ExactHyper, z: NDArray[np.int32], q: float, rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[Any, Float64s]:
    """Of every step offsets, bins, means, and where; and ŷ of random symbols: what an encoder settles."""
    steps = []

    def code(step: Step) -> Float64s:
        offsets = choose_offsets(step.log_sigma, step.mean)
        settled = quantise_parameters(step.log_sigma, step.mean, offsets)
        steps.append((offsets, settled, step.log_sigma.copy(), step.mean.copy()))
        symbols = rng.integers(-4, 5, settled.means.shape)
        return symbols + settled.means / GRID

    y_hat = run(steps_of(one, z, q), code, shape)
    return steps, y_hat.astype(np.float64, copy=False)
