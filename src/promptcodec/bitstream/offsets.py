"""Border offsets of the steps of a schedule, as bytes; docs/exactness.md.

Schedules of few steps store one byte for every piece of a step. Those of hundreds of steps store the exceptions only:
for every offset that is not zero the number of zeros before it (LEB128) and the offset.
"""

from __future__ import annotations

from promptcodec.bitstream.leb128 import leb128, read_leb128
from promptcodec.errors import FormatError


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
        """The next ``count`` offsets; fewer where a dense stream ends."""
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
        """Whether all offsets have been taken."""
        return self._zeros is None if self._sparse else self._position == len(self._packed)

    def _gap(self) -> int | None:
        """Zeros before the next exception, None where there is none left."""
        if self._position == len(self._packed):
            return None
        zeros, self._position = read_leb128(self._packed, self._position)
        return zeros
