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

from promptcodec.train.data.sources import Entry, Unit

GROUPS = 8  # of a batch's crops; each group shares a scale, so that a batch is a few kernels, not a few hundred


class Store(Protocol):
    """What crops are drawn from: ``pictures``, uint8 (H, W, 3) each."""

    device: torch.device

    @property
    def pictures(self) -> list[Tensor]: ...

    def entry(self, position: int) -> Entry | None: ...

    def move(self, samples: int) -> None: ...

    def sample(self, count: int) -> list[NDArray[np.uint8]]: ...

    def arrived(self) -> list[Unit]: ...

    def take_up(self, units: Sequence[Unit]) -> list[str]: ...

    def state(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Cut:
    """Where a crop comes from: ``side`` x ``side`` pixels from (``top``, ``left``) on of the store's picture
    ``picture``, resampled to the patch, flipped ``across`` and ``down``, and ``transposed``.
    """

    picture: int
    top: int
    left: int
    side: int
    across: bool
    down: bool
    transposed: bool = False


class CropSampler:
    """Crops of ``patch`` x ``patch`` pixels, a pure function of the store's pictures and (seed, step).

    ``plain``: all at full scale and none flipped, at the same places. ``transposed``: the share of the others whose
    rows become columns.
    """

    def __init__(
        self, store: Store, patch: int, min_scale: float, seed: int, plain: bool = False, transposed: float = 0.0
    ) -> None:
        self.store, self.patch, self.min_scale, self.seed, self.plain = store, patch, min_scale, seed, plain
        self.transposed = 0.0 if plain else transposed

    def batch(self, step: int, size: int, part: int = 0, parts: int = 1) -> Tensor:
        """Return every ``parts``-th crop from ``part`` on of a batch of ``size``.

        (n, 3, patch, patch) float32 in [0, 1].
        """
        cuts, device = self.cuts(step, size)[part::parts], self.store.device
        out = torch.empty((len(cuts), 3, self.patch, self.patch), device=device)
        out = out.contiguous(memory_format=torch.channels_last)
        for side in sorted({cut.side for cut in cuts}):
            members = [i for i, cut in enumerate(cuts) if cut.side == side]
            crops = self._cut([cuts[i] for i in members], side).permute(0, 3, 1, 2).float() / 255
            if side != self.patch:
                crops = F.interpolate(crops, (self.patch, self.patch), mode="bilinear", antialias=True)
            out[torch.tensor(members, device=device)] = crops
        across, down, transposed = (
            torch.tensor(chosen, device=device).view(-1, 1, 1, 1)
            for chosen in zip(*((cut.across, cut.down, cut.transposed) for cut in cuts), strict=True)
        )
        out = torch.where(across, out.flip(3), out)
        out = torch.where(down, out.flip(2), out)
        if self.transposed:
            out = torch.where(transposed, out.transpose(2, 3), out)
        return out.contiguous(memory_format=torch.channels_last)

    def cuts(self, step: int, size: int) -> list[Cut]:
        """Say where all crops of a batch of ``size`` come from."""
        rng = np.random.default_rng([self.seed, step])
        shapes = [picture.shape[:2] for picture in self.store.pictures]
        area = np.array([height * width for height, width in shapes], dtype=np.float64)
        # Half of the groups stay at full scale: a resampled picture has less noise than a real one.
        scaled = GROUPS // 2
        strata = (np.arange(scaled) + rng.random(scaled)) / scaled
        scales = [1.0] * (GROUPS - scaled) + (1 - (1 - self.min_scale) * strata).tolist()
        chosen = rng.choice(len(area), size, p=area / area.sum())
        groups = rng.permutation(np.arange(size) + rng.integers(GROUPS)) % GROUPS
        corners = rng.random((size, 2))
        across, down = rng.random(size) < 0.5, rng.random(size) < 0.25
        # Last, so that all else is drawn as without it.
        transposed = rng.random(size) < self.transposed if self.transposed else np.zeros(size, bool)
        if self.plain:
            scales, across, down = [1.0] * GROUPS, np.zeros_like(across), np.zeros_like(down)
        smallest = dict[int, int]()
        for group, picture in zip(groups.tolist(), chosen, strict=True):
            smallest[group] = min(smallest.get(group, 2**62), *shapes[picture])
        cuts = []
        for i, (picture, group) in enumerate(zip(chosen.tolist(), groups.tolist(), strict=True)):
            side = min(round(self.patch / scales[group]), smallest[group])
            top, left = (int(f * (n - side + 1)) for f, n in zip(corners[i], shapes[picture], strict=True))
            cuts.append(Cut(picture, top, left, side, bool(across[i]), bool(down[i]), bool(transposed[i])))
        return cuts

    def _cut(self, cuts: Sequence[Cut], side: int) -> Tensor:
        """Return (n, side, side, 3) uint8 on the device; one copy a crop, from wherever its picture lies."""
        out = torch.empty((len(cuts), side, side, 3), dtype=torch.uint8, device=self.store.device)
        for target, cut in zip(out, cuts, strict=True):
            picture = self.store.pictures[cut.picture]
            target.copy_(picture[cut.top : cut.top + side, cut.left : cut.left + side], non_blocking=True)
        return out
