"""Entropy coding as a schedule: which elements of the latent are coded when, and with what parameters.

A schedule is a generator of steps that is sent the latent decoded so far. One driver runs it three ways: teacher-forced
in training, quantise-and-encode, and decode; so a step that looks at what came before sees the same on all sides.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Where = tuple[slice, slice, slice | Tensor, slice | Tensor]
EVERYWHERE: Where = (slice(None), slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Step:
    """Elements ``where`` of y (B, M, h, w), coded together, with their scales (or log scales) and means.

    Rows and columns in ``where`` are slices, or index tensors (n,) of positions; then the parts are (B, channels, n).
    """

    where: Where
    scale: Tensor
    mean: Tensor


@dataclass(frozen=True)
class MeanStep:
    """Elements ``where`` of y (B, M, h, w) whose means are made together; their scales were settled before, from z.

    It has no scale on purpose: what sees decoded latents of this picture cannot choose a table.
    """

    where: Where
    mean: Tensor


class _Placed(Protocol):
    @property
    def where(self) -> Where: ...


Schedule = Generator[Step, Tensor, None]
MeanSchedule = Generator[MeanStep, Tensor, None]
AnyStep = TypeVar("AnyStep", bound=_Placed)


def all_at_once(scale: Tensor, mean: Tensor) -> Schedule:
    """Yield the hyperprior's schedule (Ballé et al. 2018): one step, all parameters from z alone."""
    yield Step(EVERYWHERE, scale, mean)


def with_scales(means: MeanSchedule, scale: Tensor) -> Schedule:
    """Schedule ``means`` with scales (B, M, h, w) that are settled beforehand: for training and estimates."""
    try:
        step = next(means)
        while True:
            step = means.send((yield Step(step.where, scale[step.where], step.mean)))
    except StopIteration:
        return


def run(
    schedule: Generator[AnyStep, Tensor, None], code: Callable[[AnyStep], Tensor], shape: tuple[int, ...]
) -> Tensor:
    """Drive ``schedule``; ``code`` codes a step and returns its decoded elements. Returns y_hat of ``shape``.

    Elements that no step has coded yet are zero in what a schedule is sent. Without gradients that is one tensor,
    filled as the schedule goes: a schedule must take from it what it wants to keep.
    """
    step, y_hat = next(schedule), None
    while True:
        part = code(step)
        if step.where is EVERYWHERE:
            y_hat = part
        else:
            if y_hat is None:
                y_hat = torch.zeros(shape, dtype=part.dtype, device=part.device)
            elif torch.is_grad_enabled():  # earlier steps' gradients need what they saw
                y_hat = y_hat.clone()
            y_hat[step.where] = part
        try:
            step = schedule.send(y_hat)
        except StopIteration:
            return y_hat


def assembled(parts: Sequence[tuple[Where, Tensor]], shape: Sequence[int]) -> Tensor:
    """Assemble the parts that the steps of a schedule gave into one tensor of y's shape."""
    if parts[0][0] is EVERYWHERE:
        return parts[0][1]
    whole = torch.zeros(tuple(shape), dtype=parts[0][1].dtype, device=parts[0][1].device)
    for where, part in parts:
        whole[where] = part
    return whole


def in_units(schedule: Schedule, gain: Tensor | float, scale: Callable[[Tensor, Tensor | float], Tensor]) -> Schedule:
    """Yield ``schedule``, which knows nothing of gains, for a latent multiplied by ``gain``, (B, M, 1, 1) or (B, M, h,
    w).

    A context model sees latents without gain; its means are multiplied by it. ``scale`` makes the step's scales (or
    log scales) of what the network gave and the gain of the same elements.
    """
    try:
        step = next(schedule)
        while True:
            factor = gain
            if isinstance(gain, Tensor) and gain.shape[2:] == (1, 1):
                factor = gain[:, step.where[1]].reshape(gain.shape[0], -1, *[1] * (step.mean.dim() - 2))
            elif isinstance(gain, Tensor):
                factor = gain[step.where]
            y_hat = yield Step(step.where, scale(step.scale, factor), step.mean * factor)
            step = schedule.send(y_hat / gain if isinstance(gain, Tensor) else y_hat)
    except StopIteration:
        return
