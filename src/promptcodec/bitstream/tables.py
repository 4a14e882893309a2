"""Integer frequency tables: the only probabilities that a coder sees. Data, never recomputed where a file is read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import PromptcodecError

PRECISION = 24  # frequencies of a table sum to 2^24
# Of the coder. Exhausted coders drift to 0, so 0 would prove nothing; from here on no symbol of any table is free.
INITIAL_STATE = 2**PRECISION
BINS = 64  # zero-mean Gaussians, centres log-spaced between the two standard deviations below
SIGMA_MIN = 0.11
SIGMA_MAX = 256.0

GAUSSIAN_FILE = "gaussian_tables.npz"


@dataclass(frozen=True)
class FrequencyTables:
    """A set of tables. Table i holds the frequencies of symbols offsets[i], offsets[i] + 1 … and, last, of the escape.

    ``frequencies``: one int32 array a table, each at least 1 and 2^24 in sum, so that each has at least two entries.
    """

    frequencies: tuple[NDArray[np.int32], ...]
    offsets: NDArray[np.int32]

    def __post_init__(self) -> None:
        if len(self.frequencies) != len(self.offsets) or not 0 < len(self.frequencies) <= 256:
            raise PromptcodecError(f"{len(self.frequencies)} frequency tables with {len(self.offsets)} offsets")
        for i, table in enumerate(self.frequencies):
            if len(table) < 2 or table.min() < 1 or int(table.sum(dtype=np.int64)) != 2**PRECISION:
                raise PromptcodecError(
                    f"frequency table {i} does not hold 2 or more counts >= 1 that sum to 2^{PRECISION}"
                )

    def __len__(self) -> int:
        return len(self.frequencies)

    def to_arrays(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Return all frequencies in a row, the tables' lengths, and their offsets."""
        lengths = np.array([len(table) for table in self.frequencies], dtype=np.int32)
        return np.concatenate(self.frequencies), lengths, self.offsets

    @staticmethod
    def from_arrays(flat: NDArray[np.int32], lengths: NDArray[np.int32], offsets: NDArray[np.int32]) -> FrequencyTables:
        """Return what ``to_arrays`` took apart. Raises PromptcodecError where the arrays are no tables."""
        if flat.ndim != 1 or lengths.shape != offsets.shape or int(lengths.sum()) != len(flat) or (lengths < 0).any():
            raise PromptcodecError(f"{len(flat)} frequencies do not divide into {len(lengths)} tables")
        tables = np.split(np.ascontiguousarray(flat, dtype=np.int32), np.cumsum(lengths)[:-1])
        return FrequencyTables(tuple(tables), np.ascontiguousarray(offsets, dtype=np.int32))

    @cached_property
    def sha256(self) -> str:
        """Digest of the arrays as little-endian int32: frequencies, lengths, offsets."""
        return hashlib.sha256(b"".join(array.astype("<i4").tobytes() for array in self.to_arrays())).hexdigest()

    @cached_property
    def least_bits(self) -> NDArray[np.float64]:
        """Cost in bits of each table's most probable entry: no symbol is cheaper."""
        return np.array([PRECISION - np.log2(table.max()) for table in self.frequencies])

    def symbol_bits(self, symbols: NDArray[np.int32], bins: NDArray[np.uint8]) -> NDArray[np.float64]:
        """-log2 p of each symbol under the table that ``bins`` names; an escaped symbol counts its escape alone."""
        bits = np.empty(symbols.shape)
        for i in np.unique(bins):
            table, here = self.frequencies[i], bins == i
            index = symbols[here].astype(np.int64) - self.offsets[i]
            index[(index < 0) | (index >= len(table) - 1)] = len(table) - 1
            bits[here] = (PRECISION - np.log2(table))[index]
        return bits

    def cost_bits(self, symbols: NDArray[np.int32], bins: NDArray[np.uint8]) -> float:
        """Return the sum of ``symbol_bits``."""
        return float(self.symbol_bits(symbols, bins).sum())


def quantise_pmf(pmf: NDArray[np.floating], precision: int = PRECISION) -> NDArray[np.int64]:
    """Cumulative frequencies (n + 1 of them, 0 … 2^precision) of n probabilities; no frequency is zero.

    Rounds, normalises with truncation, and lets every frequency that came out as zero take one count from the
    smallest frequency above one, as CompressAI's ``pmf_to_quantized_cdf`` does.
    Raises PromptcodecError for values that are no probabilities, or too many of them.
    """
    scaled = np.asarray(pmf, dtype=np.float32).astype(np.float64) * 2**precision
    if scaled.ndim != 1 or not 0 < len(scaled) <= 2**precision or not np.isfinite(scaled).all() or scaled.min() < 0:
        raise PromptcodecError(f"expected 1 to 2^{precision} finite probabilities >= 0")
    if scaled.max() > 1.001 * 2**precision:  # beyond rounding; the products below would overflow
        raise PromptcodecError(f"found a probability of {scaled.max() / 2**precision:.4g}, expected at most 1")
    counts = np.floor(scaled + 0.5).astype(np.int64)  # half away from zero
    if counts.sum() == 0:
        raise PromptcodecError(f"all {len(counts)} probabilities are zero at a precision of {precision} bits")
    cdf = np.concatenate([[0], np.cumsum(counts * 2**precision // counts.sum())])
    cdf[-1] = 2**precision
    for i in np.flatnonzero(np.diff(cdf) == 0):
        widths = np.diff(cdf)
        if widths[i] > 0:  # pragma: no cover (a step never widens another zero)
            continue
        widths[widths <= 1] = 2**precision + 1
        giver = int(widths.argmin())
        if giver < i:
            cdf[giver + 1 : i + 1] -= 1
        else:
            cdf[i + 1 : giver + 1] += 1
    return cdf


def tables_from_pmfs(pmfs: Sequence[NDArray[np.floating]], offsets: Sequence[int]) -> FrequencyTables:
    """Tables of probability mass functions; what each leaves of 1 becomes its escape."""
    frequencies = []
    for pmf in pmfs:
        rest = max(1.0 - float(np.sum(pmf, dtype=np.float64)), 0.0)
        frequencies.append(np.diff(quantise_pmf(np.append(pmf, rest))).astype(np.int32))
    return FrequencyTables(tuple(frequencies), np.array(offsets, dtype=np.int32))


@cache
def gaussian_tables() -> FrequencyTables:
    """Return the 64 zero-mean Gaussian tables that ship with the package."""
    data = files("promptcodec.bitstream").joinpath(GAUSSIAN_FILE).read_bytes()
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return FrequencyTables.from_arrays(arrays["frequencies"], arrays["lengths"], arrays["offsets"])
