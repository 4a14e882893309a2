"""Files that must be refused, made of sound ones: damaged, lying, out of order, or from the future."""

from __future__ import annotations

import dataclasses
import io
import zlib
from typing import Any

from promptcodec.bitstream import container, contents
from promptcodec.bitstream.container import PtcReader, pack, unpack
from promptcodec.bitstream.contents import leb128


def bad_files(data: bytes, tiled: bytes, alike: bytes, adapted: bytes) -> dict[str, tuple[bytes, str, str]]:
    """Make every bad file: its bytes, the error that must be raised, and a part of its message, by name.

    ``data`` is a plain sound file of 90 x 75 pixels, ``tiled`` one in tiles, ``alike`` one in two tiles of one size,
    ``adapted`` one that needs an adapter.
    """
    file = unpack(data)
    header, tile = file.header, file.tiles[0]

    def flipped(data: bytes, at: int) -> bytes:
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    def headed(width: int, height: int, flags: int = 0, more: bytes = b"") -> bytes:
        payload = leb128(width) + leb128(height)
        payload += contents._FIXED.pack(flags, header.probability, header.pixels, header.q) + more
        rest = container.chunk(container.TILE, contents.pack_tile(tile, 0))
        return data[:5] + container.chunk(container.HEADER, payload) + rest

    def version(number: int) -> bytes:
        return data[:4] + bytes([number]) + data[5:]

    def spans(data: bytes) -> list[tuple[int, int]]:
        reader, begin, found = PtcReader(io.BytesIO(data)), 5, []
        while begin < len(data):
            found.append((begin, reader._span(begin)[1]))
            begin = found[-1][1]
        return found

    def of_chunks(*parts: tuple[bytes, int]) -> bytes:
        """A file of chunks of other files, by their number in each; the CRCs stay as they are."""
        cut = (data[slice(*spans(data)[number])] for data, number in parts)
        return data[:5] + b"".join(cut)

    def under(start: bytes, source: bytes = data) -> bytes:
        """The last chunk of ``source``, its tile, behind all other chunks of ``start``."""
        return of_chunks(*((start, i) for i in range(len(spans(start)) - 1)), (source, len(spans(source)) - 1))

    def other(**changes: Any) -> bytes:
        return pack(dataclasses.replace(file, tiles=(dataclasses.replace(tile, **changes),)))

    def renamed(**changes: Any) -> bytes:
        return pack(dataclasses.replace(file, header=dataclasses.replace(header, **changes)))

    return {
        "empty": (b"", "FormatError", "the file is empty"),
        "png": (b"\x89PNG\r\n\x1a\n" + bytes(50), "FormatError", "not a .ptc file"),
        "version-0": (version(0), "VersionError", "version 0, from before the first release"),
        "version-1": (version(1), "VersionError", "version 1, from before the first release"),
        "version-3": (version(3), "VersionError", "version 3"),
        "cut-in-header": (data[:20], "FormatError", "the file ends inside a chunk"),
        "cut-in-tile": (data[:-9], "FormatError", "9 bytes are missing"),
        "cut-behind-header": (data[: len(data) - 9 - len(tile.stream) - len(tile.offsets) - 7], "FormatError", "ends"),
        "flipped-header": (flipped(data, 12), "FormatError", "wrong CRC"),
        "flipped-tile": (flipped(data, len(data) - 20), "FormatError", "the tile chunk at byte"),
        "checksum": (other(checksum=tile.checksum ^ 1), "FormatError", "do not have the checksum in the file"),
        "stream": (other(stream=flipped(tile.stream, 9)), "FormatError", ""),
        "stream-too-short": (other(stream=tile.stream[:9]), "FormatError", "stream"),
        "offsets": (other(offsets=b""), "FormatError", "border offsets"),
        "no-pixels": (headed(0, 9), "FormatError", "0 x 9 pixels"),
        "too-wide": (headed(65_536, 1), "LimitError", "65536 x 1 pixels"),
        "too-large": (headed(2**15, 2**14), "LimitError", "pixels"),
        "claims-much": (headed(2**12, 2**12), "FormatError", "ends early"),
        "unknown-flag": (headed(90, 75, 0x40), "VersionError", "flags 0x40"),
        "samples-flag": (headed(90, 75, 8, b"\0"), "VersionError", "more than 8 bits or of high dynamic range"),
        "samples-chunk": (
            data + container.chunk(container.SAMPLE_FORMAT, b"\x0a\x09\x10\x00\x01"), "VersionError",
            "more than 8 bits or of high dynamic range",
        ),
        "long-number": (
            data[:5] + container.chunk(container.HEADER, b"\xda\x00" + data[8 : spans(data)[0][1] - 4])
            + data[spans(data)[0][1] :],
            "FormatError", "more bytes than it needs",
        ),
        "header-too-long": (headed(90, 75, 0, b"\1"), "FormatError", "the header has"),
        "tiles-of-nothing": (headed(900, 75, 4, b"\0\1"), "FormatError", "do not divide"),
        "tiles-too-large": (headed(90, 75, 4, b"\1\1"), "FormatError", "do not divide"),
        "tile-missing": (headed(600, 75, 4, b"\1\1"), "FormatError", "fewer tiles"),
        "tile-too-many": (data + container.chunk(container.TILE, b"12345"), "FormatError", "more tiles"),
        "tiles-swapped": (
            of_chunks((alike, 0), (alike, 2), (alike, 1)), "FormatError",
            "the tile of row 1, column 2 stands where the tile of row 1, column 1 belongs",
        ),
        "tiles-of-another-size-swapped": (of_chunks(*((tiled, i) for i in (0, 1, 5, 4, 3, 2))), "FormatError", ""),
        "header-of-another-rate": (
            under(renamed(q=header.q + 1)), "FormatError", "do not have the checksum in the file",
        ),
        "header-of-another-height": (
            under(renamed(height=header.height - 1)), "FormatError", "do not have the checksum in the file",
        ),
        "header-grey": (under(renamed(grey=True)), "FormatError", "do not have the checksum in the file"),
        "adapters-left-out": (under(data, adapted), "FormatError", ""),
        "unknown-chunk": (data + container.chunk(0x20, b"x"), "VersionError", "feature 0x20"),
        "second-header": (data + data[5:35], "FormatError", ""),
        "preview-elsewhere": (
            data + container.chunk(container.ICC, zlib.compress(b"x")) + container.chunk(container.PREVIEW, bytes(9)),
            "FormatError", "right behind the header",
        ),
        "bomb": (data + container.chunk(container.XMP, zlib.compress(bytes(2**25), 9)), "FormatError", "exceeds"),
        "not-deflated": (data + container.chunk(container.EXIF, b"xyz"), "FormatError", "does not inflate"),
        "alpha-without-flag": (data + container.chunk(container.ALPHA, b"\0\1"), "FormatError", "do not agree"),
        "flag-without-alpha": (headed(90, 75, 2), "FormatError", "do not agree"),
        "source-hash": (data + container.chunk(container.SOURCE_HASH, b"1"), "FormatError", "source hash has 1 bytes"),
        "no-adapters": (data + container.chunk(container.ADAPTERS, b""), "FormatError", "chunk is empty"),
        "adapter-not-here": (adapted, "ModelMismatchError", "gain-units"),
        "other-model": (renamed(probability=b"\1" * 8), "ModelMismatchError", "0101010101010101"),
    }  # fmt: skip
