"""From the hyper synthesis' output to integers that come out the same on every machine.

Two machines disagree on float64 results by about 1e-13. Rounding such a value to a scale bin or to the grid of means
would now and then give different integers, and one different integer destroys a stream. So the encoder looks whether
any value lies within a margin of a border, far wider than the disagreement; if so it shifts all borders by another of
256 offsets, and the offset travels in the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from promptcodec.codec.tables import BINS, SIGMA_MAX, SIGMA_MIN
from promptcodec.errors import PromptcodecError

GRID = 256  # steps of a mean per unit
OFFSETS = 256  # border offsets an encoder may choose from
BIN_MARGIN = 1e-7  # of a bin's width, in log sigma
GRID_MARGIN = 1e-9  # of a grid step

_BIN_WIDTH = math.log(SIGMA_MAX / SIGMA_MIN) / (BINS - 1)


class UnstableParametersError(PromptcodecError):
    """The networks gave parameters that no border offset makes safe (NaN, infinite, or always near a border)."""


@dataclass(frozen=True)
class Quantised:
    """Scale bins and means, as integers: ``bins`` 0..63 (uint8) and ``means`` in 1/256 (int32), both (B, M, h, w)."""

    bins: Tensor
    means: Tensor


def choose_offset(log_sigma: Tensor, mean: Tensor) -> int:
    """The first offset for which no value lies within the margin of a border.

    Both tensors float64, (B, M, h, w). Raises UnstableParametersError where values are not finite (a scale of zero or
    below, log sigma = -inf, is the lowest bin and fine) or no offset will do.
    """
    if not bool(torch.isfinite(mean).all()) or bool(torch.isnan(log_sigma).any() | (log_sigma == math.inf).any()):
        raise UnstableParametersError("the model's entropy parameters are not finite numbers; its weights are damaged")
    position, grid = _bin_position(log_sigma), mean * GRID
    # Only borders between two bins matter: below the first and above the last centre there is none.
    position = position[(position > -0.5) & (position < BINS - 0.5)]
    for offset in range(OFFSETS):
        shift = _shift(offset)
        if _clear(position + shift, BIN_MARGIN) and _clear(grid + shift, GRID_MARGIN):
            return offset
    raise UnstableParametersError("no border offset keeps every entropy parameter clear of a border; this is a bug")


def quantise_parameters(log_sigma: Tensor, mean: Tensor, offset: int) -> Quantised:
    """Nearest bin in log sigma and nearest grid step of the mean, with borders shifted by ``offset`` (0..255)."""
    shift = _shift(offset)
    bins = torch.floor(_bin_position(log_sigma).clamp(-1, BINS) + (0.5 + shift)).clamp(0, BINS - 1)
    means = torch.floor(mean * GRID + (0.5 + shift))
    if not bool((means.abs() < 2**30).all()):
        raise UnstableParametersError("the model's means are out of range; its weights are damaged")
    return Quantised(bins.to(torch.uint8), means.to(torch.int32))


def _bin_position(log_sigma: Tensor) -> Tensor:
    return (log_sigma - math.log(SIGMA_MIN)) / _BIN_WIDTH


def _shift(offset: int) -> float:
    """0, 1, 2 … -2, -1 over 256 of a step: small offsets first, exact in binary."""
    return (offset - OFFSETS * (offset >= OFFSETS // 2)) / OFFSETS


def _clear(position: Tensor, margin: float) -> bool:
    """Whether no position is within ``margin`` of a border, which lie at half-integers."""
    return not bool(((position - torch.floor(position) - 0.5).abs() < margin).any())
