"""LPIPS (Zhang et al. 2018, version 0.1) and DISTS (Ding et al. 2020): distances between deep features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from promptcodec.evaluate.quality.metrics import Pixels
from promptcodec.evaluate.quality.networks import (
    DISTS_WEIGHTS,
    LPIPS_HEADS,
    RootMeanSquarePool,
    Taps,
    alexnet,
    vgg16,
    weights,
)

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, on a scale of 0 to 1
# LPIPS has its own, on a scale of -1 to 1, and rounded.
_LPIPS_MEAN, _LPIPS_DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPSILON = 1e-6
_RGB = 3


class Lpips:
    """LPIPS with one of its two usual backbones; 0 for equal pictures. Raises UsageError without the weights."""

    def __init__(self, backbone: Literal["alex", "vgg"], folder: Path | None) -> None:
        heads = weights(LPIPS_HEADS, folder)
        self._taps: Taps = {"alex": alexnet, "vgg": vgg16}[backbone](folder)
        self._heads = [heads[f"{backbone}.lin{index}"] for index in range(len(self._taps.stages))]
        self._unit = _OfLast(self._features)

    @torch.inference_mode()
    def __call__(self, reference: Pixels, decoded: Pixels) -> float:
        """Distance between two uint8 (H, W, 3) pictures."""
        total = 0.0
        for unit, other, head in zip(self._unit(reference), self._features(decoded), self._heads, strict=True):
            total += float(((unit - other).square() * head).sum(1).mean())
        return total

    def _features(self, pixels: Pixels) -> list[Tensor]:
        taps = self._taps(_normalised(pixels, 2.0, -1.0, _LPIPS_MEAN, _LPIPS_DEVIATION))
        return [tap / (tap.square().sum(1, keepdim=True).sqrt() + 1e-10) for tap in taps]


class Dists:
    """DISTS on VGG-16 at the pictures' own size; 0 for equal pictures. Raises UsageError without the weights."""

    def __init__(self, folder: Path | None) -> None:
        mix = weights(DISTS_WEIGHTS, folder)
        self._taps = vgg16(folder, RootMeanSquarePool())
        total = mix["alpha"].sum() + mix["beta"].sum()
        channels = [_RGB, *(self._last(stage).out_channels for stage in self._taps.stages)]
        self._alpha, self._beta = ((mix[name] / total).split(channels, 1) for name in ("alpha", "beta"))
        self._of_reference = _OfLast(self._features)

    @staticmethod
    def _last(stage: nn.Module) -> nn.Conv2d:
        assert isinstance(stage, nn.ModuleList)
        layer = stage[-1]
        assert isinstance(layer, nn.Conv2d)
        return layer

    @torch.inference_mode()
    def __call__(self, reference: Pixels, decoded: Pixels) -> float:
        """Distance between two uint8 (H, W, 3) pictures."""
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
        raw = _normalised(pixels, 1.0, 0.0, (0.0,) * 3, (1.0,) * 3)
        return [raw, *self._taps(_normalised(pixels, 1.0, 0.0, _MEAN, _DEVIATION))]


class _OfLast:
    """A function of a picture that remembers its last value: an original is compared with many decoded pictures."""

    def __init__(self, features: Callable[[Pixels], list[Tensor]]) -> None:
        self._features = features
        self._last: tuple[Pixels, list[Tensor]] | None = None

    def __call__(self, pixels: Pixels) -> list[Tensor]:
        if self._last is None or not np.array_equal(self._last[0], pixels):
            self._last = pixels.copy(), self._features(pixels)
        return self._last[1]


def _normalised(
    pixels: Pixels, scale: float, offset: float, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Tensor:
    """A uint8 (H, W, 3) picture as (1, 3, H, W): samples of 0 to 1 times ``scale`` plus ``offset``, less mean, over
    deviation."""
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255 * scale + offset
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(deviation)[:, None, None]
