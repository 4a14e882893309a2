"""Deflate with a bounded cost.

zlib's higher levels follow long chains of earlier occurrences. Where few byte triples recur everywhere and matches are
short, as in dithered masks, level 9 takes a hundred times as long as level 6 for some percent of the size. The cost is
estimated from the data alone, never from a clock: the same bytes come out on a quick and on a slow machine.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.contents import leb128, read_leb128
from promptcodec.errors import FormatError

# How many earlier occurrences zlib's levels look at, from the best level down.
_CHAINS = {9: 4096, 8: 1024, 7: 256, 6: 128}
BEST_LEVEL = 9
_QUICK = 5
_WINDOW = 2**15  # bytes that a match may reach back
_SAMPLES = 64  # windows that the estimate looks at
_STEPS_A_BYTE, _STEPS = 64, 2**24  # what may be spent: half a second a million bytes, and 0.1 s more


def deflated(data: bytes) -> bytes:
    """Return a zlib stream of ``data``, of the best level whose estimated cost is within bounds."""
    return deflated_from(data, quickly_deflated(data))


def deflated_plane(plane: NDArray[np.uint8]) -> bytes:
    """Return rows and columns of a plane (H, W), LEB128 each, and its values deflated."""
    return leb128(plane.shape[0]) + leb128(plane.shape[1]) + deflated(plane.tobytes())


def inflated_plane(data: bytes, most: int) -> NDArray[np.uint8]:
    """Return the plane (H, W) that ``deflated_plane`` wrote. Raises FormatError, also for more than ``most`` values."""
    rows, start = read_leb128(data, 0)
    columns, start = read_leb128(data, start)
    if not 0 < rows * columns <= most:
        raise FormatError(f"it has {rows} x {columns} places, expected 1 to {most} in all")
    unpacker = zlib.decompressobj()
    try:
        values = np.frombuffer(unpacker.decompress(data[start:], rows * columns + 1), np.uint8)
    except zlib.error as error:
        raise FormatError(f"it is damaged: {error}") from None
    if len(values) != rows * columns or not unpacker.eof or unpacker.unused_data:
        raise FormatError(f"it is damaged: expected {rows} x {columns} values")
    return values.reshape(rows, columns)


def quickly_deflated(data: bytes) -> bytes:
    """Return a zlib stream of ``data`` at a level that is always quick, to compare what may be deflated."""
    return zlib.compress(data, _QUICK)


def deflated_from(data: bytes, quick: bytes) -> bytes:
    """As ``deflated``, given what ``quickly_deflated`` returned."""
    level = level_for(data, len(quick))
    return min((quick, zlib.compress(data, level) if level > _QUICK else quick, _run_lengths(data)), key=len)


def level_for(data: bytes, quick_bytes: int) -> int:
    """Return the best level of zlib within bounds for ``data`` that the quick one makes ``quick_bytes`` of."""
    occurrences, bound = _occurrences(data), _STEPS_A_BYTE * len(data) + _STEPS
    for level, chain in _CHAINS.items():
        if quick_bytes * min(occurrences, chain) <= bound:
            return level
    return _QUICK


def _run_lengths(data: bytes) -> bytes:
    """Return a zlib stream whose only matches are runs: at times smaller than any other, and always quick."""
    stream = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_RLE)
    return stream.compress(data) + stream.flush()


def _occurrences(data: bytes) -> float:
    """Return how often, on average, a triple of bytes occurs in a window, runs of one value aside."""
    values = np.frombuffer(data, dtype=np.uint8)
    starts = np.unique(np.linspace(0, max(len(values) - _WINDOW, 0), _SAMPLES).astype(np.int64))
    total = places = 0
    for start in starts.tolist():
        window = values[start : start + _WINDOW].astype(np.uint32)
        if len(window) < 4:
            continue
        triples = window[:-3] * 65_536 + window[1:-2] * 256 + window[2:-1]
        runs = (window[:-3] == window[1:-2]) & (window[1:-2] == window[2:-1]) & (window[2:-1] == window[3:])
        _, counts = np.unique(triples[~runs], return_counts=True)
        total += int((counts.astype(np.int64) ** 2).sum())
        places += int(counts.sum())
    return total / places if places else 0.0
