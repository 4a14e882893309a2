"""Entropy coding as a schedule: which elements of the latent are coded when, and with what parameters.

A schedule is a generator of steps that is sent the latent decoded so far. One driver runs it three ways: teacher-forced
in training, quantise-and-encode, and decode; so a step that looks at what came before sees the same on all sides.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

Where = tuple[slice, slice, slice, slice]
EVERYWHERE: Where = (slice(None), slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Step:
    """Elements ``where`` of y (B, M, h, w), coded together, with their scales (or log scales) and means."""

    where: Where
    scale: Tensor
    mean: Tensor


Schedule = Generator[Step, Tensor, None]


def all_at_once(scale: Tensor, mean: Tensor) -> Schedule:
    """The hyperprior's schedule (Ballé et al. 2018): one step, all parameters from z alone."""
    yield Step(EVERYWHERE, scale, mean)


def run(schedule: Schedule, code: Callable[[Step], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Drive ``schedule``; ``code`` codes a step and returns its decoded elements. Returns y_hat of ``shape``.

    Elements that no step has coded yet are zero in what a schedule is sent.
    """
    step, y_hat = next(schedule), None
    while True:
        part = code(step)
        if step.where == EVERYWHERE:
            y_hat = part
        else:
            y_hat = torch.zeros(shape, dtype=part.dtype, device=part.device) if y_hat is None else y_hat.clone()
            y_hat[step.where] = part
        try:
            step = schedule.send(y_hat)
        except StopIteration:
            return y_hat
