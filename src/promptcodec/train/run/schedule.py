"""What a run does over its samples: batches, their rates, the learning rate, and the decay of the moving average."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """A run of ``samples`` crops in batches of ``batch``, each cut into ``parts``.

    The learning rate rises over ``warmup`` samples, stays, and falls linearly to zero over the last ``decay`` (a share)
    of them; ``rewarm``: samples of a second warm-up after the optimiser's moments were lost. ``ema``: decay of the
    moving average. ``rates``: ends of the rates q that are drawn.
    """

    samples: int
    batch: int
    parts: int = 1
    warmup: int = 0
    rewarm: int = 0
    decay: float = 0.0
    ema: float = 0.999
    rates: tuple[float, float] = (0.0, 1.0)

    def rate_factor(self, samples: int, restarted: int | None = None) -> float:
        """Share of the learning rate for the batch after ``samples``.

        ``restarted``: the samples at which a run went on without its optimiser's moments, which a second, shorter
        warm-up builds again.
        """
        seen = samples + self.batch
        left = (self.samples - samples) / (self.decay * self.samples) if self.decay else 1.0
        again = (seen - restarted) / max(self.rewarm, 1) if restarted is not None else 1.0
        return min(1.0, seen / max(self.warmup, 1), again, max(left, 0.0))

    def average_decay(self, step: int) -> float:
        """Return the decay of the moving average after so many steps: early weights are forgotten sooner."""
        return min(self.ema, (1 + step) / (10 + step))

    def draw_rates(self, seed: int, step: int) -> Tensor:
        """Draw the rates q of a batch, (batch,), rising and stratified: every batch, and every part, sees all rates."""
        draw = np.random.default_rng([seed, step, 1]).random()
        low, high = self.rates
        return low + (high - low) * (torch.arange(self.batch) + draw) / self.batch
