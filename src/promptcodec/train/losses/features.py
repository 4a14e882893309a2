"""Distance in the features of a frozen network (LPIPS, Zhang et al. 2018), read from a safetensors file."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures that the networks were trained on


class FeatureNetwork(nn.Module):
    """The convolutions of an AlexNet or a VGG, frozen: a picture's activations at the depths that LPIPS looks at.

    ``path``: a safetensors file with torchvision's names (``features.N.weight`` and ``.bias``), in any precision.
    Raises UsageError where it is missing or something else.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        tensors = read_tensors(path)
        self.places = sorted(int(m[1]) for k in tensors if (m := re.fullmatch(r"features\.(\d+)\.weight", k)))
        if not self.places or tensors[f"features.{self.places[0]}.weight"].shape[1] != 3:
            raise UsageError(f"{path} holds no chain of convolutions named features.N.weight over RGB")
        self.alex = tensors[f"features.{self.places[0]}.weight"].shape[-1] == 11
        for place in self.places:
            for part in ("weight", "bias"):
                self.register_buffer(f"{part}{place}", tensors[f"features.{place}.{part}"].float(), persistent=False)
        for name, value in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
        self.taps = [p for p in self.places if self.alex or self._pools(p) or p == self.places[-1]]
        self.channels = [tensors[f"features.{place}.weight"].shape[0] for place in self.taps]

    def forward(self, x: Tensor) -> list[Tensor]:
        """x: (B, 3, H, W) in [0, 1]. Activations after ReLU, one (B, C, h, w) a tap."""
        x, found = (x - self.get_buffer("mean")) / self.get_buffer("std"), []
        for place in self.places:
            weight = self.get_buffer(f"weight{place}")
            stride, padding = (4, 2) if weight.shape[-1] == 11 else (1, weight.shape[-1] // 2)
            x = F.relu(F.conv2d(x, weight, self.get_buffer(f"bias{place}"), stride, padding))
            if place in self.taps:
                found.append(x)
            if self._pools(place):
                x = F.max_pool2d(x, 3 if self.alex else 2, 2)
        return found

    def _pools(self, place: int) -> bool:
        """Whether a pooling follows: torchvision counts convolution, ReLU and pooling, so indices tell."""
        return place + 3 in self.places


class FeatureDistance(nn.Module):
    """Squared difference of channel-normalised activations of a ``FeatureNetwork``, summed over taps.

    ``heads``: a file with LPIPS' linear heads (``alex.lin0`` …, ``vgg.lin0`` …); without it all channels of a tap count
    alike. Raises UsageError where a file is missing or something else.
    """

    def __init__(self, path: str | Path, heads: str | Path = "") -> None:
        super().__init__()
        self.network = FeatureNetwork(path)
        given, name = read_tensors(heads) if heads else {}, "alex" if self.network.alex else "vgg"
        for i, channels in enumerate(self.network.channels):
            head = given.get(f"{name}.lin{i}") if heads else torch.full((1, channels, 1, 1), 1 / channels)
            if head is None or head.numel() != channels:
                raise UsageError(f"{heads} has no head {name}.lin{i} over {channels} channels")
            self.register_buffer(f"head{i}", head.float().view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B,) distances of x and y, (B, 3, H, W) in [0, 1]."""
        total = torch.zeros(len(x), device=x.device)
        for i, both in enumerate(self.network(torch.cat([x, y]))):
            unit = both.float() / (both.float().square().sum(1, keepdim=True).sqrt() + 1e-10)
            difference = (unit[: len(x)] - unit[len(x) :]).square() * self.get_buffer(f"head{i}")
            total = total + difference.sum(1).mean((1, 2))
        return total


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """What a safetensors file holds. Raises UsageError."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"feature network {path} cannot be read: {error}") from None
