"""Effort: one scale for what an encoder may spend on a picture. Needs no torch; ``inference.refinement`` does it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral

from promptcodec.errors import UsageError

MOST_EFFORT = 10
PROXIMAL_STEPS = (2, 3, 4, 6, 9, 13, 20, 30)  # of the levels from 1
ANNEALING_STEPS = {9: 60, 10: 150}
POLISHING_STEPS = 10  # of a proximal search behind the annealing


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
        if (annealing := ANNEALING_STEPS.get(self.level)) is not None:
            return annealing + PROXIMAL_STEPS[-1] + 1 + POLISHING_STEPS + 1
        return PROXIMAL_STEPS[self.level - 1] + 1


NO_EFFORT = Effort(0)


@lru_cache(typed=True)  # there are few, and every encode asks for one; a bool is no level
def effort_of(value: float | Effort) -> Effort:
    """Return an effort, of its level where that is what is given, whole. Raises UsageError for impossible values."""
    if isinstance(value, Effort):
        return value
    return Effort(int(value) if isinstance(value, float) and value.is_integer() else value)  # type: ignore[arg-type]
