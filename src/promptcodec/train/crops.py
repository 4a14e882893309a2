"""Random crops with downscale and flips: drawn on the host from (seed, step), cut and resampled on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from promptcodec.train.sources import Unit

GROUPS = 8  # of a batch's crops; each group shares a scale, so that a batch is a few kernels, not a few hundred


class Store(Protocol):
    """What crops are drawn from: ``pictures``, uint8 (H, W, 3) each."""

    device: torch.device

    @property
    def pictures(self) -> list[Tensor]: ...

    def move(self, samples: int) -> None: ...

    def arrived(self) -> list[Unit]: ...

    def take_up(self, units: Sequence[Unit]) -> list[str]: ...

    def state(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class _Draw:
    """A batch's choices: picture, group and corner (as fractions) of every crop, its flips, and scales of groups."""

    picture: NDArray[np.int64]
    group: NDArray[np.int64]
    corner: NDArray[np.float64]
    flips: NDArray[np.bool_]
    scales: list[float]


class CropSampler:
    """Crops of ``patch`` x ``patch`` pixels, a pure function of the store's pictures and (seed, step)."""

    def __init__(self, store: Store, patch: int, min_scale: float, seed: int) -> None:
        self.store, self.patch, self.min_scale, self.seed = store, patch, min_scale, seed

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> Tensor:
        """Every ``parts``-th crop from ``part`` on of a batch of ``size``: (n, 3, patch, patch) float32 in [0, 1]."""
        pictures, draw = self.store.pictures, self._draw(step, size)
        own = np.arange(part, size, parts)
        out = torch.empty((len(own), 3, self.patch, self.patch), device=self.store.device)
        out = out.contiguous(memory_format=torch.channels_last)
        for group, scale in enumerate(draw.scales):
            everyone = np.flatnonzero(draw.group == group)
            if len(everyone) == 0:
                continue
            smallest = min(min(pictures[i].shape[:2]) for i in draw.picture[everyone])
            side = min(round(self.patch / scale), smallest)
            members = np.flatnonzero(draw.group[own] == group)
            if len(members) == 0:
                continue
            crops = self._cut(draw, own[members], side).permute(0, 3, 1, 2).float() / 255
            if side != self.patch:
                crops = F.interpolate(crops, (self.patch, self.patch), mode="bilinear", antialias=True)
            out[torch.from_numpy(members).to(out.device)] = crops
        across, down = (torch.from_numpy(f).to(out.device).view(-1, 1, 1, 1) for f in draw.flips[:, own])
        out = torch.where(across, out.flip(3), out)
        return torch.where(down, out.flip(2), out).contiguous(memory_format=torch.channels_last)

    def _draw(self, step: int, size: int) -> _Draw:
        rng = np.random.default_rng([self.seed, step])
        area = np.array([p.shape[0] * p.shape[1] for p in self.store.pictures], dtype=np.float64)
        # Half of the groups stay at full scale: a resampled picture has less noise than a real one.
        scaled = GROUPS // 2
        strata = (np.arange(scaled) + rng.random(scaled)) / scaled
        scales = [1.0] * (GROUPS - scaled) + (1 - (1 - self.min_scale) * strata).tolist()
        return _Draw(
            rng.choice(len(area), size, p=area / area.sum()),
            rng.permutation(np.arange(size) + rng.integers(GROUPS)) % GROUPS,
            rng.random((size, 2)),
            np.stack([rng.random(size) < 0.5, rng.random(size) < 0.25]),
            scales,
        )

    def _cut(self, draw: _Draw, chosen: NDArray[np.int64], side: int) -> Tensor:
        """(n, side, side, 3) uint8 on the device; one copy a crop, from wherever its picture lies."""
        out = torch.empty((len(chosen), side, side, 3), dtype=torch.uint8, device=self.store.device)
        for target, index in zip(out, chosen, strict=True):
            picture = self.store.pictures[draw.picture[index]]
            top, left = (int(f * (n - side + 1)) for f, n in zip(draw.corner[index], picture.shape[:2], strict=True))
            target.copy_(picture[top : top + side, left : left + side], non_blocking=True)
        return out
