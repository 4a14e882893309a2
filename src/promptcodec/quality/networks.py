"""Frozen networks that perceptual measures look through: read from files, never replaced by others."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError

VARIABLE = "PROMPTCODEC_NETWORKS"
BACKBONES = {"alex": "alexnet_features_torchvision.safetensors", "vgg": "vgg16_features_torchvision.safetensors"}
LPIPS_HEADS = "lpips_v0.1_heads.safetensors"
DISTS_WEIGHTS = "dists_alpha_beta.safetensors"

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures that the networks were trained on


def networks_folder(folder: Path | None = None) -> Path | None:
    """Find the folder of weight files: the one that is named, or else the user's cache; None where there is neither.

    Raises UsageError for a folder that was named and does not exist.
    """
    return named_folder(folder) or cache_folder()


def named_folder(folder: Path | None = None) -> Path | None:
    """Return ``folder``, or that in the variable PROMPTCODEC_NETWORKS; None where none is named.

    Raises UsageError where it does not exist.
    """
    named = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None and not named.is_dir():
        raise UsageError(f"there is no folder of networks {named}")
    return named


def cache_folder() -> Path | None:
    """Return the folder of networks in the user's cache, None where there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "promptcodec" / "networks"
    return cache if cache.is_dir() else None


def weight_file(name: str, folder: Path | None) -> Path:
    """Find a weight file in a folder. Raises UsageError that says what is missing, and where it was looked for."""
    if folder is None or not (folder / name).is_file():
        place = f"in {folder}" if folder else f"as no folder is given (--networks or {VARIABLE})"
        raise UsageError(f"{name} is missing {place}: the metric cannot be computed without it")
    return folder / name


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file in float32. Raises UsageError."""
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise UsageError(f"feature network {path} cannot be read: {error}") from None


class FeatureNetwork(nn.Module):
    """The convolutions of an AlexNet or a VGG, frozen: a picture's activations at the depths that LPIPS looks at.

    ``path``: a safetensors file with torchvision's names (``features.N.weight`` and ``.bias``), in any precision.
    ``pool``: in place of the maximum that the network was trained with. Raises UsageError where the file is missing or
    something else. ``name`` and ``weights``: the name of the file, and 16 hexadecimal digits of its SHA-256.
    """

    def __init__(self, path: str | Path, pool: nn.Module | None = None) -> None:
        super().__init__()
        tensors = read_tensors(path)
        self.name, self.weights = Path(path).name, hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
        self.places = sorted(int(m[1]) for k in tensors if (m := re.fullmatch(r"features\.(\d+)\.weight", k)))
        if not self.places or tensors[f"features.{self.places[0]}.weight"].shape[1] != 3:
            raise UsageError(f"{path} holds no chain of convolutions named features.N.weight over RGB")
        self.alex = tensors[f"features.{self.places[0]}.weight"].shape[-1] == 11
        self.pool = pool or nn.MaxPool2d(3 if self.alex else 2, 2)
        for place in self.places:
            for part in ("weight", "bias"):
                self.register_buffer(f"{part}{place}", tensors[f"features.{place}.{part}"], persistent=False)
        for name, value in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(value, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.taps = [p for p in self.places if self.alex or self._pools(p) or p == self.places[-1]]
        self.channels = [tensors[f"features.{place}.weight"].shape[0] for place in self.taps]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the activations after ReLU, one (B, C, h, w) a tap, of x (B, 3, H, W) in [0, 1]."""
        x, activations = (x - self.get_buffer("mean")) / self.get_buffer("std"), []
        for place in self.places:
            weight = self.get_buffer(f"weight{place}")
            stride, padding = (4, 2) if weight.shape[-1] == 11 else (1, weight.shape[-1] // 2)
            x = F.relu(F.conv2d(x, weight, self.get_buffer(f"bias{place}"), stride, padding))
            if place in self.taps:
                activations.append(x)
            if self._pools(place):
                x = self.pool(x)
        return activations

    def _pools(self, place: int) -> bool:
        """Tell whether a pooling follows: torchvision counts convolution, ReLU and pooling, so indices tell."""
        return place + 3 in self.places
