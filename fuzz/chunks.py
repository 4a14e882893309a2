"""Damage that checksums do not see: mutated files with every CRC made right again."""

from promptcodec.bitstream.container import chunk
from promptcodec.bitstream.contents import read_leb128
from promptcodec.errors import FormatError


def repaired(data):
    """The bytes cut into chunks as their lengths say, as far as they go, each with a correct CRC."""
    out, position = data[:5], 5
    while position < len(data):
        try:
            length, start = read_leb128(data, position + 1)
        except FormatError:
            break
        out += chunk(data[position], data[start : min(start + length, len(data))])
        position = start + length + 4
    return out
