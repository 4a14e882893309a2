"""The coder: round trips, both implementations bit for bit, cost, and damaged streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcodec.bitstream.rans import BACKENDS, Decoder, encode
from promptcodec.bitstream.tables import PRECISION, FrequencyTables, gaussian_tables
from promptcodec.errors import FormatError, PromptcodecError


@st.composite
def some_tables(draw):
    """1 to 6 tables of 2 to 40 entries, some with almost all their mass on one entry."""
    tables, offsets = [], []
    for _ in range(draw(st.integers(1, 6))):
        weights = np.array(draw(st.lists(st.integers(0, 2**20), min_size=2, max_size=40)), dtype=np.float64)
        spare = 2**PRECISION - len(weights)
        counts = 1 + np.floor(weights / max(weights.sum(), 1) * spare).astype(np.int64)
        counts[int(weights.argmax())] += 2**PRECISION - counts.sum()
        tables.append(counts.astype(np.int32))
        offsets.append(draw(st.integers(-30, 30)))
    return FrequencyTables(tuple(tables), np.array(offsets, dtype=np.int32))


@st.composite
def some_steps(draw):
    steps = []
    for _ in range(draw(st.integers(0, 3))):
        tables = draw(some_tables())
        pairs = draw(st.lists(st.tuples(st.integers(0, len(tables) - 1), st.integers(-100, 100)), max_size=60))
        bins = np.array([b for b, _ in pairs], dtype=np.uint8)
        steps.append((np.array([s for _, s in pairs], dtype=np.int32), bins, tables))
    return steps


def decode(stream, steps, backend):
    decoder = Decoder(stream, backend)
    symbols = [decoder.pull(bins, tables) for _, bins, tables in steps]
    decoder.finish()
    return symbols


@settings(max_examples=200)
@given(some_steps())
def test_round_trip_with_every_pair_of_implementations(steps):
    streams = {name: encode(steps, name) for name in BACKENDS}
    assert len(set(streams.values())) == 1
    for name in BACKENDS:
        for (symbols, _, _), decoded in zip(steps, decode(streams["python"], steps, name), strict=True):
            assert decoded.dtype == np.int32
            assert decoded.tolist() == symbols.tolist()


def gaussian_steps(count, seed=0):
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 64, count).astype(np.uint8)
    sigma = np.geomspace(0.11, 256, 64)[bins]
    return [(np.rint(rng.normal(0, sigma)).astype(np.int32), bins, gaussian_tables())]


def test_cost_is_within_a_word_of_the_tables():
    ((symbols, bins, tables),) = steps = gaussian_steps(20_000)
    stream = encode(steps)
    assert len(stream) <= tables.cost_bits(symbols, bins) / 8 * 1.0001 + 16


def test_implementations_agree_on_a_large_stream():
    steps = gaussian_steps(20_000, 1)
    if "constriction" not in BACKENDS:
        pytest.skip("constriction is not installed")
    assert encode(steps, "python") == encode(steps, "constriction")
    assert (decode(encode(steps), steps, "constriction")[0] == steps[0][0]).all()
    assert (decode(encode(steps), steps, "python")[0] == steps[0][0]).all()


def test_the_stream_is_the_documented_one():
    """docs/stream.md's example, by hand: two symbols of probability 1/2 and 1/4, and an escape."""
    table = np.array([2**23, 2**22, 2**22], dtype=np.int32)
    tables = FrequencyTables((table,), np.array([0], dtype=np.int32))
    symbols = np.array([1, 0, 5, -2], dtype=np.int32)
    # Pushed: escape, escape, 0, 1. Each maps state s to (s // f) * 2^24 + start + s % f.
    state = 2**24
    for start, count in ((3 * 2**22, 2**22), (3 * 2**22, 2**22), (0, 2**23), (2**23, 2**22)):
        state = (state // count << 24) + start + state % count
    words = state.to_bytes(-(-state.bit_length() // 32) * 4, "little")
    assert encode([(symbols, np.zeros(4, dtype=np.uint8), tables)]) == bytes([2, 2 * 3, 2 * 1 + 1]) + words


@pytest.mark.parametrize("backend", BACKENDS)
def test_damage_is_an_error_or_other_symbols_never_a_crash(backend):
    steps = gaussian_steps(300, 2)
    stream = encode(steps)
    rng = np.random.default_rng(3)
    for _ in range(150):
        damaged = bytearray(stream)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            decode(bytes(damaged), steps, backend)
        except FormatError:
            pass
    for cut in range(0, len(stream), 7):
        with pytest.raises(FormatError):
            decode(stream[:cut], steps, backend)


def test_a_short_stream_is_refused_before_any_work():
    bins = np.full(2_000_000, 40, dtype=np.uint8)
    with pytest.raises(FormatError, match="ends early"):
        Decoder(encode([])).pull(bins, gaussian_tables())


def test_a_symbol_out_of_all_bounds_is_refused():
    step = (np.array([2**30], dtype=np.int32), np.zeros(1, dtype=np.uint8), gaussian_tables())
    with pytest.raises(PromptcodecError, match="too far outside"):
        encode([step])
