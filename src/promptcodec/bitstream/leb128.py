"""Numbers of variable length (unsigned LEB128), as in WebAssembly and DWARF: seven bits a byte, low ones first."""

from __future__ import annotations

from promptcodec.errors import FormatError


def leb128(value: int) -> bytes:
    """``value`` >= 0, coded."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_leb128(data: bytes, position: int) -> tuple[int, int]:
    """Return the number at ``position`` and the position after it.

    Raises FormatError beyond 5 bytes or the data's end, and for numbers of more bytes than they need: every number has
    one spelling, so that what was read is written as it was.
    """
    value = 0
    for shift in range(0, 35, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift:
                raise FormatError(f"the data has the number {value} in more bytes than it needs")
            return value, position
    raise FormatError("the data ends inside a number, or has one of more than 5 bytes")
