"""The entropy coder's arithmetic by the constriction library, where it installs: ten times the speed of pure Python."""

from __future__ import annotations

from typing import Any

import constriction
import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.tables import INITIAL_STATE

_Categorical = constriction.stream.model.Categorical


class Ans:
    """Same as ``ans_python.Ans``."""

    def __init__(self, words: NDArray[np.uint32] | None = None) -> None:
        self._coder = constriction.stream.stack.AnsCoder(
            np.array([INITIAL_STATE], np.uint32) if words is None else words
        )

    def push(self, symbols: NDArray[np.int32], frequencies: NDArray[np.int32]) -> None:
        """Put indices into ``frequencies`` on the stack, the last one first, so that ``pull`` returns them in order."""
        self._coder.encode_reverse(np.ascontiguousarray(symbols, dtype=np.int32), _model(frequencies))

    def pull(self, number: int, frequencies: NDArray[np.int32]) -> NDArray[np.int32]:
        """Take ``number`` indices from the stack; at its bottom there is garbage, which ``empty`` tells."""
        return self._coder.decode(_model(frequencies), number)  # type: ignore[no-any-return]

    def finish(self) -> NDArray[np.uint32]:
        """Return all words, lowest first."""
        return self._coder.get_compressed()  # type: ignore[no-any-return]

    @property
    def empty(self) -> bool:
        """Whether the stack is exactly where it began."""
        return bool(self._coder.num_words() == 1 and self._coder.get_compressed()[0] == INITIAL_STATE)


def _model(frequencies: NDArray[np.int32]) -> Any:
    """Return the library gives every entry one count and shares the rest out in proportion; with weights that are the
    counts less one its scale is exactly 1, so no rounding ever decides a count.
    """
    return _Categorical(frequencies - 1.0, perfect=False, lazy=False)
