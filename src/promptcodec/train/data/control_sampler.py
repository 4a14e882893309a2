"""Controls that adapters are trained with, drawn for every sample: a pure function of (seed, step, sample)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from promptcodec.train.data.random_region import random_region


class ControlSampler:
    """Scalars uniform in [0, 1], one from each of as many equal parts as the batch has samples, in random order; maps
    as random regions (``train/data/random_region.py``), or all one where not ``random``.
    """

    def __init__(
        self, scalars: Iterable[str], maps: Iterable[str], patch: int, batch: int, seed: int, random: bool = True
    ) -> None:
        self.scalars, self.maps = sorted(set(scalars) - {"rate"}), sorted(maps)  # the rate is drawn by the loop
        self.patch, self.batch, self.seed, self.random = patch, batch, seed, random

    def part(
        self, step: int, part: int, parts: int, device: torch.device, objects: Sequence[Iterable[Tensor] | None] = ()
    ) -> dict[str, Tensor]:
        """Draw for every ``parts``-th sample from ``part`` on: scalars (n,) and maps (n, 1, patch, patch).

        ``objects``: masks (patch, patch) of the objects in these samples, None for samples of unknown ones.
        """
        drawn: dict[str, Tensor] = {}
        for i, name in enumerate(self.scalars):
            rng = np.random.default_rng([self.seed, step, 2, i])
            values = rng.permutation((np.arange(self.batch) + rng.random(self.batch)) / self.batch)
            drawn[name] = torch.from_numpy(values[part::parts].copy()).float().to(device)
        for i, name in enumerate(self.maps):
            samples = range(part, self.batch, parts)
            if not self.random:
                drawn[name] = torch.ones(len(samples), 1, self.patch, self.patch, device=device)
                continue
            regions = []
            for sample, instances in zip(samples, objects or [None] * len(samples), strict=True):
                seed = np.random.SeedSequence([self.seed, step, 3, i, sample]).generate_state(1)[0]
                generator = torch.Generator().manual_seed(int(seed))
                regions.append(random_region(self.patch, self.patch, instances, generator))
            drawn[name] = torch.stack(regions).to(device)
        return drawn
