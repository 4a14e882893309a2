"""Frozen networks that perceptual metrics look through: given as files, never replaced by others."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.system.utf8_path import utf8_path

VARIABLE = "PROMPTCODEC_NETWORKS"
ALEXNET = "alexnet_features_torchvision.safetensors"
VGG16 = "vgg16_features_torchvision.safetensors"
LPIPS_HEADS = "lpips_v0.1_heads.safetensors"
DISTS_WEIGHTS = "dists_alpha_beta.safetensors"


def networks_folder(given: Path | None = None) -> Path | None:
    """The folder of weight files: the given one, that in the variable PROMPTCODEC_NETWORKS, or the user's cache.

    None where there is none. Raises UsageError for a folder that was named and does not exist.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        if not named.is_dir():
            raise UsageError(f"there is no folder {named} with the networks of the perceptual metrics")
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "promptcodec" / "networks"
    return cache if cache.is_dir() else None


def weights(name: str, folder: Path | None) -> dict[str, Tensor]:
    """Tensors of a weight file in float32. Raises UsageError that says what is missing, and where it was looked for."""
    if folder is None or not (folder / name).is_file():
        place = f"in {folder}" if folder else f"as no folder is given (--networks or {VARIABLE})"
        raise UsageError(f"{name} is missing {place}: the metric cannot be computed without it")
    with utf8_path(folder / name) as path:
        return {key: tensor.float() for key, tensor in load_file(path).items()}


class Taps(nn.Module):
    """A chain of convolutions, each with a ReLU, in stages: the output of each stage is a tap.

    ``plan``: for each stage the layer numbers that its convolutions have in torchvision's ``features``; ``strides``
    and ``paddings`` are those of the first convolution of a stage (the others: 1 and half the kernel).
    """

    def __init__(
        self, tensors: dict[str, Tensor], plan: tuple[tuple[int, ...], ...], pool: nn.Module, pooled: tuple[int, ...],
        first: tuple[int, int] = (1, 1),
    ) -> None:  # fmt: skip
        """``pool`` comes before the stages in ``pooled``; ``first``: stride and padding of the very first layer."""
        super().__init__()
        self.pool, self.pooled = pool, pooled
        self.stages = nn.ModuleList()
        for stage in plan:
            layers = nn.ModuleList()
            for number in stage:
                weight, bias = tensors[f"features.{number}.weight"], tensors[f"features.{number}.bias"]
                stride, padding = first if number == 0 else (1, weight.shape[2] // 2)
                layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], stride, padding)
                layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
                layers.append(layer)
            self.stages.append(layers)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W), normalised as the network wants it, to the taps (B, C, h, w) in order."""
        taps = []
        for index, stage in enumerate(self.stages):
            if index in self.pooled:
                x = self.pool(x)
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                x = F.relu(layer(x))
            taps.append(x)
        return taps


def alexnet(folder: Path | None) -> Taps:
    """AlexNet's five ReLU outputs. Raises UsageError without the weights."""
    plan = ((0,), (3,), (6,), (8,), (10,))
    return Taps(weights(ALEXNET, folder), plan, nn.MaxPool2d(3, 2), (1, 2), first=(4, 2))


def vgg16(folder: Path | None, pool: nn.Module | None = None) -> Taps:
    """VGG-16's last ReLU outputs of each of five scales. Raises UsageError without the weights."""
    plan = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
    return Taps(weights(VGG16, folder), plan, pool or nn.MaxPool2d(2, 2), (1, 2, 3, 4))


class RootMeanSquarePool(nn.Module):
    """Halves a map: root of the 3x3 Hann-weighted mean of squares, which does not alias as the maximum does."""

    def __init__(self) -> None:
        super().__init__()
        hann = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", hann[:, None] * hann)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.get_buffer("kernel").expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
