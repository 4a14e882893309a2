"""The entropy coder's arithmetic in pure Python: slow, everywhere, and the same bits as the compiled one."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.tables import INITIAL_STATE, PRECISION

_MASK = 2**PRECISION - 1


class Ans:
    """A stack of symbols: 64-bit range asymmetric numeral system with 32-bit words (Duda 2013).

    ``words`` holds what ``finish`` returned, lowest first; the last word is not zero.
    """

    def __init__(self, words: NDArray[np.uint32] | None = None) -> None:
        self._words: list[int] = [INITIAL_STATE] if words is None else words.tolist()
        self._state = 0
        while self._words and self._state < 2**32:
            self._state = self._state << 32 | self._words.pop()

    def push(self, symbols: NDArray[np.int32], frequencies: NDArray[np.int32]) -> None:
        """Put indices into ``frequencies`` on the stack, the last one first, so that ``pull`` returns them in order."""
        counts = frequencies.tolist()
        starts = [0, *accumulate(counts)]
        state, words = self._state, self._words
        for symbol in reversed(symbols.tolist()):
            count = counts[symbol]
            if state >> (64 - PRECISION) >= count:
                words.append(state & 0xFFFFFFFF)
                state >>= 32
            quotient, remainder = divmod(state, count)
            state = quotient << PRECISION | (starts[symbol] + remainder)
        self._state = state

    def pull(self, number: int, frequencies: NDArray[np.int32]) -> NDArray[np.int32]:
        """Take ``number`` indices from the stack; at its bottom there is garbage, which ``empty`` tells."""
        counts = frequencies.tolist()
        starts = [0, *accumulate(counts)]
        symbols = []
        state, words = self._state, self._words
        for _ in range(number):
            slot = state & _MASK
            symbol = bisect_right(starts, slot) - 1
            symbols.append(symbol)
            state = (state >> PRECISION) * counts[symbol] + slot - starts[symbol]
            if state < 2**32 and words:
                state = state << 32 | words.pop()
        self._state = state
        return np.array(symbols, dtype=np.int32)

    def finish(self) -> NDArray[np.uint32]:
        """Return all words, lowest first."""
        words, state = list(self._words), self._state
        while state:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        return np.array(words, dtype=np.uint32)

    @property
    def empty(self) -> bool:
        """Whether the stack is exactly where it began."""
        return not self._words and self._state == INITIAL_STATE
