"""What a file's metadata holds, in words."""

from __future__ import annotations

import struct

from promptcodec.bitstream.contents import Metadata
from promptcodec.picture.exif import describe


def metadata_facts(metadata: Metadata) -> list[str]:
    """Return a line for each part that the file has: its ICC profile by name, what its EXIF data holds, its XMP."""
    facts = []
    if metadata.icc is not None:
        facts.append(f"ICC profile {_profile_name(metadata.icc)!r}, {len(metadata.icc):,} bytes")
    if metadata.exif is not None:
        facts.append(f"EXIF with {', '.join(describe(metadata.exif))}")
    if metadata.xmp is not None:
        facts.append(f"XMP of {len(metadata.xmp):,} bytes")
    return facts


def _profile_name(icc: bytes) -> str:
    """Return the description in a profile of version 2 or 4; empty where there is none."""
    try:
        (count,) = struct.unpack_from(">I", icc, 128)
        for i in range(min(count, 100)):
            name, start, size = struct.unpack_from(">4sII", icc, 132 + 12 * i)
            if name != b"desc":
                continue
            value = icc[start : start + size]
            if value.startswith(b"mluc"):
                length, offset = struct.unpack_from(">II", value, 20)
                return _printable(value[offset : offset + length].decode("utf-16-be", "replace"))
            (length,) = struct.unpack_from(">I", value, 8)
            return _printable(value[12 : 12 + length].decode("latin-1"))
    except struct.error:
        pass
    return ""


def _printable(text: str) -> str:
    return "".join(character for character in text[:100] if character.isprintable())
