"""DISTS (Ding et al. 2020): structure and texture of deep features, compared channel by channel."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.quality.networks import BACKBONES, DISTS_WEIGHTS, FeatureNetwork, read_tensors, weight_file
from promptcodec.quality.pixels import Pixels, check_alike
from promptcodec.quality.reference_features import CachedFeatures, to_tensor

_EPSILON = 1e-6
_RGB = 3


class Dists:
    """DISTS on VGG-16 at the pictures' own size; 0 for equal pictures. Raises UsageError without the weights."""

    def __init__(self, folder: Path | None) -> None:
        mix = read_tensors(weight_file(DISTS_WEIGHTS, folder))
        self._network = FeatureNetwork(weight_file(BACKBONES["vgg"], folder), RootMeanSquarePool())
        total = mix["alpha"].sum() + mix["beta"].sum()
        channels = [_RGB, *self._network.channels]
        self._alpha, self._beta = ((mix[name] / total).split(channels, 1) for name in ("alpha", "beta"))
        self._of_reference = CachedFeatures(self._features)

    @torch.inference_mode()
    def __call__(self, reference: Pixels, decoded: Pixels) -> float:
        """Compute the distance between two uint8 (H, W, 3) pictures."""
        check_alike(reference, decoded)
        taps = zip(self._of_reference(reference), self._features(decoded), strict=True)
        similarity = 0.0
        for (x, y), alpha, beta in zip(taps, self._alpha, self._beta, strict=True):
            mean_x, mean_y = (t.mean((2, 3), keepdim=True) for t in (x, y))
            var_x, var_y = ((t - m).square().mean((2, 3), keepdim=True) for t, m in ((x, mean_x), (y, mean_y)))
            covariance = (x * y).mean((2, 3), keepdim=True) - mean_x * mean_y
            texture = (2 * mean_x * mean_y + _EPSILON) / (mean_x.square() + mean_y.square() + _EPSILON)
            structure = (2 * covariance + _EPSILON) / (var_x + var_y + _EPSILON)
            similarity += float((alpha * texture + beta * structure).sum())
        return 1 - similarity

    def _features(self, pixels: Pixels) -> list[Tensor]:
        x = to_tensor(pixels)
        return [x, *self._network(x)]


class RootMeanSquarePool(nn.Module):
    """Halves a map: root of the 3x3 Hann-weighted mean of squares, which does not alias as the maximum does."""

    def __init__(self) -> None:
        super().__init__()
        hann = torch.tensor([0.25, 0.5, 0.25], dtype=torch.float32)
        self.register_buffer("kernel", hann[:, None] * hann, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) to (B, C, H/2, W/2), rounded up."""
        kernel = self.get_buffer("kernel").expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()
