"""Notices that a run diverges: losses or gradient norms far above their running medians.

Gradients are clipped in every step, so one large gradient does no harm, and clipping stops no divergence either: it
goes on for tens of steps. So what counts is the median of the last steps, which single batches do not move.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.train.run.distributed import World

LOOK_EVERY = 16  # steps; reading figures makes the host wait for the device, which once in so many steps costs nothing
HISTORY = 64  # looks whose median is what is usual
TINY = 1e-30  # in place of zero in logarithms

Figures = tuple[float, float]  # loss and gradient norm


class Verdict(IntEnum):
    """``DOUBTFUL``: beyond the square root of a bound, at which no state is taken to be good."""

    WELL = 0
    DOUBTFUL = 1
    DIVERGED = 2


class DivergenceMonitor:
    """Loss and gradient norm of the last steps, over all processes, and what is usual.

    ``bounds``: how many times what is usual the median loss and the median norm of LOOK_EVERY steps may be. Raises
    UsageError for those that what is usual exceeds.
    """

    def __init__(self, bounds: Figures, world: World) -> None:
        if min(bounds) <= 1:
            raise UsageError(f"guard and guard_norm are {bounds[0]} and {bounds[1]}, expected more than 1")
        self.bounds, self.world = bounds, world
        self._unread: list[Tensor] = []
        self._recent: deque[Figures] = deque(maxlen=LOOK_EVERY)
        self._looks: deque[Figures] = deque(maxlen=HISTORY)

    def add(self, sums: Tensor, norm: Tensor) -> None:
        """Take up a step, without waiting for it: its sums as ``Meter`` takes them, and its gradients' norm."""
        self._unread.append(torch.stack([sums[0], sums[1], norm.to(sums.dtype)]))

    def read(self) -> None:
        """Bring to the host what is not there yet. All processes have to call it after the same steps."""
        if not self._unread:
            return
        figures = torch.stack(self._unread)
        sums = self.world.total(figures[:, :2].contiguous()).tolist()
        norms = figures[:, 2].tolist()  # of gradients that the processes share already
        losses = [loss / count for count, loss in sums]
        self._recent += [(_finite(loss), _finite(norm)) for loss, norm in zip(losses, norms, strict=True)]
        self._unread.clear()

    def look(self, complete: bool = True) -> Verdict:
        """Judge the last LOOK_EVERY steps, the same in all processes.

        They count among what is usual from now on if ``complete``: if none of them was in an earlier look.
        """
        verdict = self.verdict()
        doubtful, diverged = self.world.any(verdict >= Verdict.DOUBTFUL, verdict >= Verdict.DIVERGED)
        if complete and not diverged and len(self._recent) == LOOK_EVERY:
            self._looks.append(_medians(self._recent))
        return Verdict(int(doubtful) + int(diverged))

    def verdict(self) -> Verdict:
        """Judge the last LOOK_EVERY steps."""
        self.read()
        if len(self._recent) < LOOK_EVERY:
            return Verdict.WELL
        last = _medians(self._recent)
        if not all(map(math.isfinite, last)):
            return Verdict.DIVERGED
        loss, norm = (
            (math.log(max(value, TINY)) - math.log(max(usual, TINY))) / math.log(bound)
            for value, usual, bound in zip(last, self._usual, self.bounds, strict=True)
        )
        excess = (
            max(loss, norm) if loss > 0 else 0.0
        )  # norms may rise much while the loss falls, at the start above all
        return Verdict.DIVERGED if excess > 1 else Verdict.DOUBTFUL if excess > 0.5 else Verdict.WELL

    def figures(self) -> dict[str, float | None]:
        """Return the medians of the last steps, and what was usual; None for what is not finite."""
        last = _medians(self._recent)
        named = {"loss": last[0], "norm": last[1], "usual_loss": self._usual[0], "usual_norm": self._usual[1]}
        return {name: round(value, 4) if math.isfinite(value) else None for name, value in named.items()}

    @property
    def _usual(self) -> Figures:
        """Medians of the looks; for the first one, of the steps that it begins with."""
        return _medians(self._looks or list(self._recent)[: LOOK_EVERY // 4])

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs."""
        self.read()
        return {"recent": [list(each) for each in self._recent], "looks": [list(each) for each in self._looks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``, or anew from an empty one."""
        self._unread.clear()
        self._recent = deque(((loss, norm) for loss, norm in state.get("recent", ())), LOOK_EVERY)
        self._looks = deque(((loss, norm) for loss, norm in state.get("looks", ())), HISTORY)


def _medians(figures: Iterable[Figures]) -> Figures:
    losses, norms = zip(*figures, strict=True)
    return statistics.median(losses), statistics.median(norms)


def _finite(value: float) -> float:
    """Return ``value``, infinity for what is no number: it has to be sorted."""
    return value if math.isfinite(value) else math.inf
