"""Effort: one scale for what an encoder may spend on a picture. Torch is imported where a search begins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from promptcodec.model.base import CompressionModel
    from promptcodec.model.inference.annealing import AnnealedRefinement
    from promptcodec.model.inference.proximal import ProximalSearch
    from promptcodec.model.steering import Steerer, Steering

MOST_EFFORT = 10
_PROXIMAL_STEPS = (2, 3, 4, 6, 9, 13, 20, 30)  # of the levels from 1
_ANNEALING_STEPS = {9: 60, 10: 150}
_POLISHING_STEPS = 10  # of a proximal search behind the annealing


@dataclass(frozen=True)
class Effort:
    """How much an encoder may spend: ``level`` 0 (a plain analysis) to 10.

    Levels 1 to 8 search better symbols for the latents (``ProximalSearch``), 9 and 10 anneal them as well
    (``AnnealedRefinement``), for ``rate_lambda`` · 255² MSE + bits per pixel; None is what the model was trained for at
    the wanted quality. Any decoder opens the file. Raises UsageError for impossible values.
    """

    level: int
    rate_lambda: float | None = None

    def __post_init__(self) -> None:
        whole = isinstance(self.level, Integral) and not isinstance(self.level, bool)
        if not whole or not 0 <= self.level <= MOST_EFFORT:
            raise UsageError(f"an effort is a whole number from 0 to {MOST_EFFORT}, not {self.level!r}")
        if self.rate_lambda is not None and not 0 < self.rate_lambda < math.inf:
            raise UsageError(f"the trade-off of an effort is a positive number, not {self.rate_lambda}")

    @property
    def steps(self) -> int:
        """Passes forward and backward through the synthesis, about, for one picture or tile."""
        if self.level == 0:
            return 0
        if (annealing := _ANNEALING_STEPS.get(self.level)) is not None:
            return annealing + _PROXIMAL_STEPS[-1] + 1 + _POLISHING_STEPS + 1
        return _PROXIMAL_STEPS[self.level - 1] + 1

    def __call__(
        self, model: CompressionModel, x: Tensor, q: float, steerer: Steerer, report: Callable[[], None]
    ) -> tuple[Tensor, Tensor, Steering]:
        """y, z and the encoder's steering of a picture x (1, 3, H, W) in [0, 1], at the rate q in [0, 1].

        ``report`` is called ``steps`` times. Level 0 is not for this.
        """
        import torch

        from promptcodec.model.inference.latent_cost import LatentCost

        with torch.inference_mode(False):  # gradients do not pass what inference mode made
            rate = None if model.gain is None else torch.tensor([q], dtype=torch.float32, device=x.device)
            cost = LatentCost(model, x.clone(), rate, steerer, self.rate_lambda)
            if not cost.has_trade_off:
                return cost.latents(cost.y, cost.z)
            found = self._search(cost, cost.y, cost.z, report)
            return cost.latents(found.y, found.z)

    @property
    def _search(self) -> ProximalSearch | AnnealedRefinement:
        from promptcodec.model.inference.annealing import AnnealedRefinement
        from promptcodec.model.inference.proximal import ProximalSearch

        if (annealing := _ANNEALING_STEPS.get(self.level)) is not None:
            return AnnealedRefinement(annealing, ProximalSearch(_PROXIMAL_STEPS[-1]), ProximalSearch(_POLISHING_STEPS))
        return ProximalSearch(_PROXIMAL_STEPS[self.level - 1])


def effort_of(value: float | Effort) -> Effort:
    """An effort, of its level where that is what is given, whole. Raises UsageError for impossible values."""
    if isinstance(value, Effort):
        return value
    return Effort(int(value) if isinstance(value, float) and value.is_integer() else value)  # type: ignore[arg-type]
