"""Frequency tables: the reference's table routine, the shipped data, and refusals."""

import math

import numpy as np
import pytest

from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN, FrequencyTables, gaussian_tables, quantise_pmf
from promptcodec.errors import PromptcodecError

GAUSSIAN_SHA256 = "3a8ae5033c760b40d074369fb4841fb9aead0a20f40cc2ed1ca113014b06f7da"


@pytest.fixture(scope="module")
def golden(vectors):
    return {key: value.numpy() for key, value in vectors("entropy_models").items()}


@pytest.mark.parametrize("case", range(5))
def test_table_routine_equals_the_reference(golden, case):
    assert quantise_pmf(golden[f"input/cdf.pmf{case}"], 16).tolist() == golden[f"output/cdf/cdf{case}"].tolist()


def test_gaussian_rows_of_the_reference(golden):
    """The reference's own 16-bit rows, from our routine and its definition of their width."""
    rows = np.split(golden["output/gc/cdf_rows_concatenated"], np.cumsum(golden["output/gc/cdf_length"])[:-1])
    for sigma, row, offset in zip(golden["output/gc/scale_table"], rows, golden["output/gc/offset"], strict=True):
        k = np.arange(len(row) - 2) + offset
        pmf, tail = _gaussian_float32(np.abs(k), sigma)
        ours = quantise_pmf(np.append(pmf, tail), 16)
        assert np.abs(ours - row).max() <= 2  # erfc in single precision differs between libraries


def _gaussian_float32(distance, sigma):
    cdf = np.vectorize(lambda v: np.float32(0.5 * math.erfc(-v * math.sqrt(0.5))))
    pmf = cdf((0.5 - distance) / sigma) - cdf((-0.5 - distance) / sigma)
    return pmf, 2 * cdf((-0.5 - distance[-1]) / sigma)


def test_shipped_tables_are_the_frozen_data():
    tables = gaussian_tables()
    assert tables.sha256 == GAUSSIAN_SHA256
    assert len(tables) == BINS
    centres = np.geomspace(SIGMA_MIN, SIGMA_MAX, BINS)
    for sigma, table, offset in zip(centres, tables.frequencies, tables.offsets, strict=True):
        symbols = np.arange(len(table) - 1) + offset
        exact = _rounded_gaussian(symbols, sigma)
        extra_bits = (exact * np.log2(np.maximum(exact, 1e-300) / (table[:-1] / 2**24))).sum()
        assert extra_bits < 1e-3  # a symbol, on average, for integer counts and room for outliers
        assert table[-1] / 2**24 < 2e-4  # the escape, with what truncation left over


def _rounded_gaussian(symbols, sigma):
    scale = 0.5**0.5 / sigma
    return np.array([0.5 * (math.erfc((abs(k) - 0.5) * scale) - math.erfc((abs(k) + 0.5) * scale)) for k in symbols])


def test_arrays_there_and_back():
    tables = gaussian_tables()
    assert FrequencyTables.from_arrays(*tables.to_arrays()).sha256 == tables.sha256


@pytest.mark.parametrize("bad", [[2**24], [2**24 - 1, 0, 1], [2**23, 2**22]])
def test_bad_tables_are_refused(bad):
    with pytest.raises(PromptcodecError):
        FrequencyTables((np.array(bad, dtype=np.int32),), np.zeros(1, dtype=np.int32))


@pytest.mark.parametrize("bad", [[], [0.0, 0.0], [0.5, math.nan], [1.5, -0.5], [2e6, 0.0]])
def test_what_is_no_distribution_is_refused(bad):
    with pytest.raises(PromptcodecError):
        quantise_pmf(np.array(bad))


def test_cost_is_the_entropy_of_the_counts():
    table = np.array([2**23, 2**22, 2**22], dtype=np.int32)
    tables = FrequencyTables((table,), np.array([-1], dtype=np.int32))
    symbols = np.array([-1, 0, 7, -3], dtype=np.int32)
    assert tables.cost_bits(symbols, np.zeros(4, dtype=np.uint8)) == 1 + 2 + 2 + 2
