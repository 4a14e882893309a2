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

from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN
from promptcodec.errors import FormatError, PromptcodecError

GRID = 256  # steps of a mean per unit
OFFSETS = 256  # border offsets an encoder may choose from
PIECE = 2**18  # elements that share an offset: of so many, few or none lie near a border by chance
BIN_MARGIN = 1e-7  # of a bin's width, in log sigma
MEAN_MARGIN = 2e-9
MEAN_MARGIN_GROWS_FROM = 128.0  # the largest mean above which the margin grows with it, as float64's spacing does

_BIN_WIDTH = math.log(SIGMA_MAX / SIGMA_MIN) / (BINS - 1)


class UnstableParametersError(PromptcodecError):
    """The networks gave parameters that no border offset makes safe (NaN, infinite, or always near a border)."""


@dataclass(frozen=True)
class Quantised:
    """Scale bins and means, as integers: ``bins`` 0..63 (uint8) and ``means`` in 1/256 (int32), both (B, M, h, w)."""

    bins: Tensor
    means: Tensor


def pieces(count: int) -> int:
    """Number of offsets that ``count`` elements take."""
    return -(-count // PIECE)


def choose_offsets(log_sigma: Tensor, mean: Tensor) -> bytes:
    """For every piece the first offset for which no value lies within the margin of a border.

    Both tensors float64, (B, M, h, w). Raises UnstableParametersError where values are not finite (a scale of zero or
    below, log sigma = -inf, is the lowest bin and fine) or no offset will do.
    """
    _check_finite(log_sigma, mean)
    parts = zip(log_sigma.flatten().split(PIECE), mean.flatten().split(PIECE), strict=True)
    return bytes(_choose(_bin_position(part), mean_part * GRID) for part, mean_part in parts)


def choose_scale_offsets(log_sigma: Tensor) -> bytes:
    """As ``choose_offsets``, where means decide nothing that must come out the same everywhere."""
    _check_finite(log_sigma, log_sigma.new_zeros(()))
    nothing = log_sigma.new_zeros(0)
    return bytes(_choose(_bin_position(part), nothing) for part in log_sigma.flatten().split(PIECE))


def _check_finite(log_sigma: Tensor, mean: Tensor) -> None:
    if not bool(torch.isfinite(mean).all()) or bool(torch.isnan(log_sigma).any() | (log_sigma == math.inf).any()):
        raise UnstableParametersError("the model's entropy parameters are not finite numbers; its weights are damaged")


def mean_margin(mean: Tensor) -> float:
    """How far from a border of the grid all means of a piece shall lie: the more, the larger the largest."""
    largest = float(mean.abs().max()) if mean.numel() else 0.0
    return MEAN_MARGIN * max(1.0, largest / MEAN_MARGIN_GROWS_FROM)


def _choose(position: Tensor, grid: Tensor) -> int:
    # Only borders between two bins matter: below the first and above the last centre there is none.
    position = position[(position > -0.5) & (position < BINS - 0.5)]
    margin, least = mean_margin(grid / GRID) * GRID, MEAN_MARGIN * GRID
    while True:
        for offset in range(OFFSETS):
            shift = _shift(offset)
            if _clear(position + shift, BIN_MARGIN) and _clear(grid + shift, margin):
                return offset
        if margin <= least:
            break
        margin = max(margin / 2, least)  # thousands of times the usual, it may leave no offset
    raise UnstableParametersError("no border offset keeps every entropy parameter clear of a border; this is a bug")


def quantise_parameters(log_sigma: Tensor, mean: Tensor, offsets: bytes) -> Quantised:
    """Nearest bin in log sigma and nearest grid step of the mean, with each piece's borders shifted by its offset.

    Raises FormatError where there are fewer offsets than pieces.
    """
    bins = scale_bins(log_sigma, offsets)
    means = torch.empty(mean.numel(), dtype=torch.int32)
    flat_mean = mean.flatten()
    for i, offset in enumerate(offsets):
        part = slice(i * PIECE, (i + 1) * PIECE)
        grid = torch.floor(flat_mean[part] * GRID + (0.5 + _shift(offset)))
        if not bool((grid.abs() < 2**30).all()):
            raise UnstableParametersError("the model's means are out of range; its weights are damaged")
        means[part] = grid.to(torch.int32)
    return Quantised(bins, means.view(mean.shape))


def scale_bins(log_sigma: Tensor, offsets: bytes) -> Tensor:
    """Nearest bin in log sigma, uint8, with each piece's borders shifted by its offset.

    Raises FormatError where there are fewer offsets than pieces.
    """
    count = log_sigma.numel()
    if len(offsets) != pieces(count):
        raise FormatError(f"found {len(offsets)} border offsets for {count} latents, expected {pieces(count)}")
    bins, flat = torch.empty(count, dtype=torch.uint8), log_sigma.flatten()
    for i, offset in enumerate(offsets):
        part = slice(i * PIECE, (i + 1) * PIECE)
        position = _bin_position(flat[part]).clamp(-1, BINS)
        bins[part] = torch.floor(position + (0.5 + _shift(offset))).clamp(0, BINS - 1).to(torch.uint8)
    return bins.view(log_sigma.shape)


def _bin_position(log_sigma: Tensor) -> Tensor:
    return (log_sigma - math.log(SIGMA_MIN)) / _BIN_WIDTH


def _shift(offset: int) -> float:
    """0, 1, 2 … -2, -1 over 256 of a step: small offsets first, exact in binary."""
    return (offset - OFFSETS * (offset >= OFFSETS // 2)) / OFFSETS


def _clear(position: Tensor, margin: float) -> bool:
    """Whether no position is within ``margin`` of a border, which lie at half-integers."""
    return not bool(((position - torch.floor(position) - 0.5).abs() < margin).any())
