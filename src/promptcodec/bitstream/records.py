"""What a file says of the adapters that it needs."""

from __future__ import annotations

from dataclasses import dataclass

from promptcodec.bitstream.leb128 import leb128, read_leb128
from promptcodec.errors import FormatError

FINGERPRINT_BYTES = 8  # of an adapter
MAX_NAME = 100  # bytes of an adapter's name


@dataclass(frozen=True)
class AdapterRecord:
    """An adapter that a decoder needs: its name, its fingerprint (8 bytes) and what its encoder half signalled."""

    name: str
    fingerprint: bytes
    signal: bytes = b""


def pack_adapters(records: tuple[AdapterRecord, ...]) -> bytes:
    """The payload of an adapters chunk. Raises FormatError for names and fingerprints of other lengths."""
    return b"".join(map(_pack_one, records))


def _pack_one(record: AdapterRecord) -> bytes:
    name = record.name.encode()
    if len(record.fingerprint) != FINGERPRINT_BYTES or not 0 < len(name) <= MAX_NAME:
        raise FormatError(f"an adapter has a name of 1 to {MAX_NAME} bytes and a fingerprint of {FINGERPRINT_BYTES}")
    return record.fingerprint + leb128(len(name)) + name + leb128(len(record.signal)) + record.signal


def unpack_adapters(payload: bytes) -> tuple[AdapterRecord, ...]:
    """The records in a payload. Raises FormatError."""
    records, position = [], 0
    while position < len(payload):
        fingerprint = payload[position : position + FINGERPRINT_BYTES]
        name, position = _counted(payload, position + FINGERPRINT_BYTES)
        signal, position = _counted(payload, position)
        try:
            records.append(AdapterRecord(name.decode(), fingerprint, signal))
        except UnicodeDecodeError:
            raise FormatError("the name of an adapter is no UTF-8") from None
        if not 0 < len(name) <= MAX_NAME:
            raise FormatError(f"the name of an adapter has {len(name)} bytes, expected 1 to {MAX_NAME}")
    if not records:
        raise FormatError("the adapters chunk is empty")
    return tuple(records)


def _counted(payload: bytes, position: int) -> tuple[bytes, int]:
    """Bytes with their number in front, and the position after them."""
    count, start = read_leb128(payload, position)
    if start + count > len(payload):
        raise FormatError("the adapters chunk ends inside an adapter")
    return payload[start : start + count], start + count
