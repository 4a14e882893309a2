"""From the hyper synthesis' output to integers that come out the same on every machine.

Two machines disagree on float64 results by about 1e-13. Rounding such a value to a scale bin or to the grid of means
would now and then give different integers, and one different integer destroys a stream. So the encoder looks whether
any value lies within a margin of a border, far wider than the disagreement; if so it shifts all borders by another of
256 offsets, and the offset travels in the file; docs/exactness.md.

Schedules of few steps store one byte for every piece of a step. Those of hundreds of steps store the exceptions only:
for every offset that is not zero the number of zeros before it (LEB128) and the offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.contents import leb128, read_leb128
from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN
from promptcodec.errors import FormatError, PromptcodecError
from promptcodec.model.arrays import Float64s

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

    bins: NDArray[np.uint8]
    means: NDArray[np.int32]


def pieces(count: int) -> int:
    """Number of offsets that ``count`` elements take."""
    return -(-count // PIECE)


def choose_offsets(log_sigma: Float64s, mean: Float64s) -> bytes:
    """For every piece the first offset for which no value lies within the margin of a border.

    Both float64, (B, M, h, w). Raises UnstableParametersError where values are not finite (a scale of zero or
    below, log sigma = -inf, is the lowest bin and fine) or no offset will do.
    """
    _check_finite(log_sigma, mean)
    parts = zip(_split(log_sigma), _split(mean), strict=True)
    return bytes(_choose(_bin_position(part), mean_part * GRID) for part, mean_part in parts)


def choose_scale_offsets(log_sigma: Float64s) -> bytes:
    """As ``choose_offsets``, where means decide nothing that must come out the same everywhere."""
    nothing = np.empty(0)
    _check_finite(log_sigma, nothing)
    return bytes(_choose(_bin_position(part), nothing) for part in _split(log_sigma))


def _split(values: Float64s) -> list[Float64s]:
    """Return all values in C order, in pieces."""
    flat = values.reshape(-1)
    return [flat[start : start + PIECE] for start in range(0, flat.size, PIECE)]


def _check_finite(log_sigma: Float64s, mean: Float64s) -> None:
    if not np.isfinite(mean).all() or np.isnan(log_sigma).any() or (log_sigma == math.inf).any():
        raise UnstableParametersError("the model's entropy parameters are not finite numbers; its weights are damaged")


def mean_margin(mean: Float64s) -> float:
    """Return how far from a border of the grid all means of a piece shall lie: the more, the larger the largest."""
    largest = float(np.abs(mean).max()) if mean.size else 0.0
    return MEAN_MARGIN * max(1.0, largest / MEAN_MARGIN_GROWS_FROM)


def _choose(position: Float64s, grid: Float64s) -> int:
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


def quantise_parameters(log_sigma: Float64s, mean: Float64s, offsets: bytes) -> Quantised:
    """Nearest bin in log sigma and nearest grid step of the mean, with each piece's borders shifted by its offset.

    Raises FormatError where there are fewer offsets than pieces.
    """
    bins = scale_bins(log_sigma, offsets)
    means = np.empty(mean.size, np.int32)
    flat_mean = mean.reshape(-1)
    for i, offset in enumerate(offsets):
        part = slice(i * PIECE, (i + 1) * PIECE)
        grid = flat_mean[part] * GRID
        grid += 0.5 + _shift(offset)
        np.floor(grid, out=grid)
        if not -(2**30) < grid.min(initial=0) <= grid.max(initial=0) < 2**30:
            raise UnstableParametersError("the model's means are out of range; its weights are damaged")
        means[part] = grid
    return Quantised(bins, means.reshape(mean.shape))


def scale_bins(log_sigma: Float64s, offsets: bytes) -> NDArray[np.uint8]:
    """Nearest bin in log sigma, uint8, with each piece's borders shifted by its offset.

    Raises FormatError where there are fewer offsets than pieces.
    """
    count = log_sigma.size
    if len(offsets) != pieces(count):
        raise FormatError(f"found {len(offsets)} border offsets for {count} latents, expected {pieces(count)}")
    bins, flat = np.empty(count, np.uint8), log_sigma.reshape(-1)
    for i, offset in enumerate(offsets):
        part = slice(i * PIECE, (i + 1) * PIECE)
        position = _bin_position(flat[part])
        np.clip(position, -1, BINS, out=position)
        position += 0.5 + _shift(offset)
        np.floor(position, out=position)
        bins[part] = np.clip(position, 0, BINS - 1, out=position)
    return bins.reshape(log_sigma.shape)


def _bin_position(log_sigma: Float64s) -> Float64s:
    position = log_sigma - math.log(SIGMA_MIN)
    position /= _BIN_WIDTH
    return position


def _shift(offset: int) -> float:
    """0, 1, 2 … -2, -1 over 256 of a step: small offsets first, exact in binary."""
    return (offset - OFFSETS * (offset >= OFFSETS // 2)) / OFFSETS


def _clear(position: Float64s, margin: float) -> bool:
    """Return whether no position is within ``margin`` of a border, which lie at half-integers."""
    if not position.size:
        return True
    distance = np.floor(position)
    np.subtract(position, distance, out=distance)
    distance -= 0.5
    return not np.abs(distance, out=distance).min() < margin


def pack_offsets(offsets: bytes, sparse: bool) -> bytes:
    """``offsets``, one for every piece, as they travel."""
    if not sparse:
        return offsets
    packed, zeros = bytearray(), 0
    for offset in offsets:
        if offset:
            packed += leb128(zeros) + bytes([offset])
        zeros = 0 if offset else zeros + 1
    return bytes(packed)


class OffsetReader:
    """Hands out offsets in order; ``finish`` must be called after the last."""

    def __init__(self, packed: bytes, sparse: bool) -> None:
        self._packed, self._sparse, self._position = packed, sparse, 0
        self._zeros = self._gap() if sparse else 0

    def take(self, count: int) -> bytes:
        """Return the next ``count`` offsets; fewer where a dense stream ends."""
        if not self._sparse:
            self._position += count
            return self._packed[self._position - count : self._position]
        taken = bytearray()
        for _ in range(count):
            if self._zeros is None or self._zeros > 0:
                taken.append(0)
                self._zeros = None if self._zeros is None else self._zeros - 1
                continue
            if self._position >= len(self._packed) or self._packed[self._position] == 0:
                raise FormatError("the border offsets are damaged: an exception that is none")
            taken.append(self._packed[self._position])
            self._position += 1
            self._zeros = self._gap()
        return bytes(taken)

    def finish(self) -> bool:
        """Return whether all offsets have been taken."""
        return self._zeros is None if self._sparse else self._position == len(self._packed)

    def _gap(self) -> int | None:
        """Zeros before the next exception, None where there is none left."""
        if self._position == len(self._packed):
            return None
        zeros, self._position = read_leb128(self._packed, self._position)
        return zeros
