"""Map what a model does: where its bits go, how far a latent sees, and where prompts are listened to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import STRIDE
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.layers.blocks import Stage
from promptcodec.model.layers.mixers import Seen, WindowAttention
from promptcodec.model.layers.transforms import Transform
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.model.steering import Site, Steerer, Steering, TransformName
from promptcodec.steer.sites import TRANSFORMS
from promptcodec.system.atomic import atomic_write
from promptcodec.system.extras import import_extra

Map = NDArray[np.float64]


@torch.no_grad()
def channel_bits(
    model: CompressionModel, x: Tensor, q: Tensor | None = None, steering: Steering | Steerer | None = None
) -> Map:
    """Return the bits -log2 p of every element of y, (B, M, h/16, w/16), of pictures x (B, 3, H, W) in [0, 1]."""
    likelihood = model(x, q, "round", steering)["likelihoods"]["y"]
    return (-likelihood.double().log2()).cpu().numpy()  # type: ignore[no-any-return]


def bit_allocation(bits: Map) -> Map:
    """Return the mean over the channels of ``channel_bits``, (B, h/16, w/16): the maps of papers 001 and 002."""
    return bits.mean(axis=1)  # type: ignore[no-any-return]


def strongest_channel(bits: Map) -> tuple[NDArray[np.int64], Map]:
    """Return the channel that takes the most bits in each picture (B,), and its map (B, h/16, w/16): paper 003's."""
    channel = bits.sum(axis=(2, 3)).argmax(axis=1)
    return channel, bits[np.arange(len(bits)), channel]


def receptive_field(network: nn.Module, pictures: Tensor, channels: int = 3) -> Map:
    """Measure the effective receptive field of a transform (Luo et al., NeurIPS 2016), (H, W), largest value 1.

    Mean over ``pictures`` (B, ``channels``, H, W) of the absolute gradient of the central output element, summed over
    its channels, with respect to the input, summed over its channels. Raises UsageError where the sides are no
    multiples of 64, since padding would be seen too.
    """
    height, width = pictures.shape[2:]
    if pictures.shape[1] != channels or height % STRIDE or width % STRIDE:
        raise UsageError(f"expected pictures (B, {channels}, H, W) with sides multiples of 64, not {pictures.shape}")
    with torch.enable_grad():
        x = pictures.detach().clone().requires_grad_()
        out = network(x)
        (gradient,) = torch.autograd.grad(out[:, :, out.shape[2] // 2, out.shape[3] // 2].sum(), x)
    field = gradient.abs().sum(1).mean(0).double()
    return (field / field.max()).cpu().numpy()  # type: ignore[no-any-return]


@torch.no_grad()
def attention_maps(
    model: CompressionModel, x: Tensor, q: Tensor | None = None, steering: Steering | Steerer | None = None
) -> dict[Site, Map]:
    """Return how much of its attention each token pays to prompts, by block: softmax mass on prompt keys, mean over
    heads.

    Of one pass over pictures x (B, 3, H, W) in [0, 1] with ``steering``, such as ``steer.adapter.Attached`` makes.
    Maps (B, h, w), one value a token in [0, 1], for every block with window attention; zero where no prompt acts.
    """
    maps: dict[Site, Map] = {}
    with ExitStack() as observed:
        for site, mixer in _attention_sites(model):
            observed.enter_context(_observed(mixer, site, maps))
        model(x, q, "round", steering)
    return maps


def _attention_sites(model: CompressionModel) -> Iterator[tuple[Site, WindowAttention]]:
    for name in TRANSFORMS:
        stages = [layer for layer in _layers(model, name) if isinstance(layer, Stage)]
        for i, stage in enumerate(stages):
            for j, block in enumerate(stage.blocks):
                if isinstance(block.mixer, WindowAttention):
                    yield Site(name, i, j), block.mixer


def _layers(model: CompressionModel, name: TransformName) -> nn.ModuleList:
    if name != "h_m":
        transform: Transform = getattr(model, name)
        return transform.layers
    return model.context.features.layers if isinstance(model.context, ContextualMean) else nn.ModuleList()


@contextmanager
def _observed(mixer: WindowAttention, site: Site, maps: dict[Site, Map]) -> Iterator[None]:
    def look(seen: Seen, grid: WindowGrid) -> None:
        maps[site] = _prompt_mass(mixer, seen, grid)

    mixer.observer = look
    try:
        yield
    finally:
        mixer.observer = None


def _prompt_mass(mixer: WindowAttention, seen: Seen, grid: WindowGrid) -> Map:
    """Return (B, h, w). Prompt keys stand in front of the window's own."""
    prompts = seen.k.shape[4] - seen.labels.shape[2]
    bias = mixer.masked(seen.bias, seen.labels, seen.key_labels).unflatten(0, seen.labels.shape[:2])
    logits = seen.q @ seen.k.transpose(-1, -2) * seen.q.shape[-1] ** -0.5 + bias
    mass = logits.double().softmax(-1)[..., :prompts].sum(-1).mean(3)  # (B, rows, cols, tokens)
    return grid.merge(mass[..., None])[..., 0].cpu().numpy()  # type: ignore[no-any-return]


def plot_map(values: Map, path: Path, label: str) -> None:
    """Write a map (h, w) as a PNG with a scale beside it. Raises UsageError where matplotlib is missing."""
    figure_module = import_extra("matplotlib.figure", "matplotlib")
    figure = figure_module.Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot(xticks=[], yticks=[])
    figure.colorbar(axes.imshow(values, cmap="magma"), label=label)
    try:
        with atomic_write(path, overwrite=True) as file:
            figure.savefig(file, format="png", dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write the plot {path}: {error.strerror}") from error
