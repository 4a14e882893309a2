"""LPIPS (Zhang et al. 2018, version 0.1): distance between deep features, differentiable."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.quality.networks import BACKBONES, LPIPS_HEADS, FeatureNetwork, read_tensors, weight_file
from promptcodec.quality.pixels import Pixels, check_alike
from promptcodec.quality.reference_features import CachedFeatures, to_tensor

EPSILON = 1e-10  # no division by the norm of features that are all zero


class FeatureDistance(nn.Module):
    """Squared difference of channel-normalised activations of a ``FeatureNetwork``, summed over taps.

    ``heads``: a file with LPIPS' linear heads (``alex.lin0`` …, ``vgg.lin0`` …), with which this is LPIPS; without it
    all channels of a tap count alike. Raises UsageError where a file is missing or something else.
    """

    def __init__(self, path: str | Path, heads: str | Path = "") -> None:
        super().__init__()
        self.network = FeatureNetwork(path)
        weights, name = read_tensors(heads) if heads else {}, "alex" if self.network.alex else "vgg"
        for i, channels in enumerate(self.network.channels):
            head = (
                weights.get(f"{name}.lin{i}")
                if heads
                else torch.full((1, channels, 1, 1), 1 / channels, dtype=torch.float32)
            )
            if head is None or head.numel() != channels:
                raise UsageError(f"{heads} has no head {name}.lin{i} over {channels} channels")
            self.register_buffer(f"head{i}", head.view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the distances (B,) of x and y, (B, 3, H, W) in [0, 1]."""
        both = self.features(torch.cat([x, y]))
        return self.between([tap[: len(x)] for tap in both], [tap[len(x) :] for tap in both])

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the activations (B, C, h, w) of x (B, 3, H, W) in [0, 1], of length 1 over the channels."""
        taps = (tap.float() for tap in self.network(x))
        return [tap / (tap.square().sum(1, keepdim=True).sqrt() + EPSILON) for tap in taps]

    def between(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """Compute the distances (B,) of what ``features`` gave for two batches."""
        distances = [
            ((one - other).square() * self.get_buffer(f"head{i}")).sum(1).mean((1, 2))
            for i, (one, other) in enumerate(zip(x, y, strict=True))
        ]
        return torch.stack(distances).sum(0)


class Lpips:
    """LPIPS with one of its two usual backbones; 0 for equal pictures. Raises UsageError without the weights."""

    def __init__(self, backbone: Literal["alex", "vgg"], folder: Path | None) -> None:
        self._distance = FeatureDistance(weight_file(BACKBONES[backbone], folder), weight_file(LPIPS_HEADS, folder))
        self._of_reference = CachedFeatures(lambda pixels: self._distance.features(to_tensor(pixels)))

    @torch.inference_mode()
    def __call__(self, reference: Pixels, decoded: Pixels) -> float:
        """Compute the distance between two uint8 (H, W, 3) pictures."""
        check_alike(reference, decoded)
        return float(self._distance.between(self._of_reference(reference), self._distance.features(to_tensor(decoded))))
