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


class FeatureDistance(nn.Module):
    """Squared difference of channel-normalised activations, summed over taps.

    ``path``: the convolutions of an AlexNet or a VGG under torchvision's names (``features.N.weight`` and ``.bias``),
    in any precision. ``heads``: a file with LPIPS' linear heads (``alex.lin0`` …, ``vgg.lin0`` …); without it all
    channels of a tap count alike. Raises UsageError where a file is missing or something else.
    """

    def __init__(self, path: str | Path, heads: str | Path = "") -> None:
        super().__init__()
        tensors = _read(path)
        self.places = sorted(int(m[1]) for k in tensors if (m := re.fullmatch(r"features\.(\d+)\.weight", k)))
        if not self.places or tensors[f"features.{self.places[0]}.weight"].shape[1] != 3:
            raise UsageError(f"{path} holds no chain of convolutions named features.N.weight over RGB")
        self.alex = tensors[f"features.{self.places[0]}.weight"].shape[-1] == 11
        for place in self.places:
            for part in ("weight", "bias"):
                self.register_buffer(f"{part}{place}", tensors[f"features.{place}.{part}"].float(), persistent=False)
        for name, value in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
        name = "alex" if self.alex else "vgg"
        self.taps = [p for p in self.places if self.alex or self._pools(p) or p == self.places[-1]]
        given = _read(heads) if heads else {}
        for i, place in enumerate(self.taps):
            channels = tensors[f"features.{place}.weight"].shape[0]
            head = given.get(f"{name}.lin{i}") if heads else torch.full((1, channels, 1, 1), 1 / channels)
            if head is None or head.numel() != channels:
                raise UsageError(f"{heads} has no head {name}.lin{i} over {channels} channels")
            self.register_buffer(f"head{place}", head.float().view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B,) distances of x and y, (B, 3, H, W) in [0, 1]."""
        both = (torch.cat([x, y]) - self.get_buffer("mean")) / self.get_buffer("std")
        total = torch.zeros(len(x), device=x.device)
        for place in self.places:
            weight = self.get_buffer(f"weight{place}")
            stride, padding = (4, 2) if weight.shape[-1] == 11 else (1, weight.shape[-1] // 2)
            both = F.relu(F.conv2d(both, weight, self.get_buffer(f"bias{place}"), stride, padding))
            if place in self.taps:
                unit = both.float() / (both.float().square().sum(1, keepdim=True).sqrt() + 1e-10)
                difference = (unit[: len(x)] - unit[len(x) :]).square() * self.get_buffer(f"head{place}")
                total = total + difference.sum(1).mean((1, 2))
            if self._pools(place):
                both = F.max_pool2d(both, 3 if self.alex else 2, 2)
        return total

    def _pools(self, place: int) -> bool:
        """Whether a pooling follows: torchvision counts convolution, ReLU and pooling, so indices tell."""
        return place + 3 in self.places


def _read(path: str | Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"feature network {path} cannot be read: {error}") from None
