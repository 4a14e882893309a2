"""The container: there and back, limits, versions, and thousands of damaged files."""

import dataclasses
import io
import zlib

import pytest
from chunks import repaired
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcodec.bitstream import container
from promptcodec.bitstream.container import (
    Header,
    Metadata,
    Preview,
    PtcFile,
    PtcReader,
    Tile,
    pack,
    read_header,
    unpack,
)
from promptcodec.bitstream.leb128 import leb128
from promptcodec.errors import FormatError, LimitError, PromptcodecError, VersionError

HEADER = Header(768, 512, b"12345678", b"abcd", 40_000)
FILE = PtcFile(HEADER, (Tile(0xDEADBEEF, b"\x07", b"stream" * 20),))
RICH = PtcFile(
    Header(3, 2, b"12345678", b"abcd", 65_535, grey=True, alpha=True),
    (Tile(1, b"", b""),),
    Metadata(b"icc" * 100, b"II*\0", b"<x/>", b"\x00\xff", b"01234567"),
)
TILED = PtcFile(
    Header(700, 500, b"12345678", b"abcd", 9, tile_width=256, tile_height=256),
    tuple(Tile(i, b"\0", bytes([i]) * 9) for i in range(6)),
    preview=Preview(25, 18, 8, Tile(3, b"\0", b"small")),
)

optional = st.none() | st.binary(max_size=300)


@given(
    st.integers(1, 65_535), st.integers(1, 4096), st.integers(0, 65_535), st.booleans(), optional, optional, optional,
    optional, st.none() | st.binary(min_size=8, max_size=8), st.binary(max_size=500),
)  # fmt: skip
def test_round_trip(width, height, q, grey, icc, exif, xmp, alpha, source_hash, stream):
    header = Header(width, height, b"12345678", b"abcd", q, grey, alpha is not None)
    file = PtcFile(header, (Tile(zlib.crc32(stream), b"\x01", stream),), Metadata(icc, exif, xmp, alpha, source_hash))
    data = pack(file)
    assert unpack(data) == file
    assert read_header(data) == read_header(io.BytesIO(data)) == header


def test_overhead_of_a_plain_file():
    assert len(pack(FILE)) - len(FILE.tiles[0].stream) <= 48 - 5  # the stream's own frame takes at most 5


def test_cut_anywhere():
    for data in (pack(FILE), pack(RICH), pack(TILED)):
        for cut in range(len(data)):
            with pytest.raises(FormatError):
                unpack(data[:cut])


def test_one_flipped_bit_anywhere():
    for data in (pack(FILE), pack(RICH), pack(TILED)):
        for i in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[i // 8] ^= 1 << i % 8
            with pytest.raises((FormatError, LimitError)):
                unpack(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a .ptc"),
        (container.SIGNATURE, "ends inside"),
        (b"\x8fP", "ends inside"),
    ],
)
def test_foreign_and_empty_files(data, message):
    with pytest.raises(FormatError, match=message):
        unpack(data)


def test_future_version_and_features():
    data = bytearray(pack(FILE))
    data[4] = 2
    with pytest.raises(VersionError, match="version 2"):
        unpack(bytes(data))
    data[4] = 0
    with pytest.raises(VersionError, match="experimental"):
        unpack(bytes(data))
    with pytest.raises(VersionError, match="0x20"):
        unpack(pack(FILE) + container._chunk(0x20, b"prompt"))
    assert unpack(pack(FILE) + container._chunk(0xA0, b"a comment")) == FILE


def header_bytes(width, height, flags=0):
    payload = leb128(width) + leb128(height) + container._FIXED.pack(flags, b"12345678", b"abcd", 0)
    return container.SIGNATURE + bytes([container.VERSION]) + container._chunk(container.HEADER, payload)


@pytest.mark.parametrize("size", [(65_535, 65_535), (65_536, 1), (1, 2**30), (2**15, 2**14)])
def test_huge_sizes_are_refused(size):
    with pytest.raises(LimitError, match="pixels"):
        read_header(header_bytes(*size))


def test_the_limit_can_be_lifted():
    assert read_header(header_bytes(65_535, 65_535), max_pixels=None).width == 65_535


def test_no_pixels():
    with pytest.raises(FormatError):
        read_header(header_bytes(0, 5))


def test_a_deflate_bomb_is_bounded():
    bomb = zlib.compress(bytes(2**25), 9)
    with pytest.raises(FormatError, match="exceeds"):
        unpack(pack(FILE) + container._chunk(container.XMP, bomb))


def test_twice_the_same_chunk():
    with pytest.raises(FormatError, match="more tiles"):
        unpack(pack(FILE) + container._chunk(container.TILE, b"12345"))
    with pytest.raises(FormatError, match="second"):
        unpack(pack(RICH) + container._chunk(container.EXIF, zlib.compress(b"II*\0")))


def test_tiles_and_preview():
    assert unpack(pack(TILED)) == TILED
    header, preview = container.read_preview(io.BytesIO(pack(TILED)[:80]))
    assert (header, preview) == (TILED.header, TILED.preview)
    assert container.read_preview(io.BytesIO(pack(FILE)[:60])) == (FILE.header, None)
    with pytest.raises(FormatError, match="fewer tiles"):
        unpack(pack(TILED)[: -len(container._chunk(container.TILE, container._pack_tile(TILED.tiles[-1])))])
    with pytest.raises(FormatError, match="asks for 6 tiles"):
        pack(dataclasses.replace(TILED, tiles=TILED.tiles[:-1]))


@pytest.mark.parametrize(("columns", "rows"), [(0, 1), (1, 0), (3, 2), (257, 1)])
def test_tiles_that_divide_nothing(columns, rows):
    payload = leb128(768) + leb128(512) + container._FIXED.pack(4, b"12345678", b"abcd", 0)
    payload += leb128(columns) + leb128(rows)
    with pytest.raises(FormatError, match="do not divide"):
        read_header(container.SIGNATURE + b"\1" + container._chunk(container.HEADER, payload))


def test_a_preview_elsewhere_or_too_large():
    with pytest.raises(FormatError, match="behind the header"):
        unpack(pack(RICH) + container._chunk(container.PREVIEW, bytes(20)))
    large = dataclasses.replace(TILED, preview=Preview(1025, 1, 0, Tile(1, b"", b"")))
    with pytest.raises(FormatError, match="at most 1024"):
        unpack(pack(large))


def test_reading_one_tile_reads_little_more():
    """Chunks are hopped over, and an other tile's damage does not matter."""
    big = dataclasses.replace(TILED, tiles=tuple(Tile(i, b"", bytes([i]) * 10_000) for i in range(6)))
    data = bytearray(pack(big))
    data[-5000] ^= 1

    class Counting(io.BytesIO):
        count = 0

        def read(self, size=-1):
            found = super().read(size)
            self.count += len(found)
            return found

    file = Counting(bytes(data))
    assert PtcReader(file).tile(1) == big.tiles[1]
    assert file.count < 10_400
    with pytest.raises(FormatError, match="wrong CRC"):
        PtcReader(io.BytesIO(bytes(data))).check_tiles()


@st.composite
def damaged(draw):
    data = bytearray(pack(draw(st.sampled_from([FILE, RICH, TILED]))))
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["flip", "cut", "splice", "set"]))
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and data:
            data[at] = draw(st.sampled_from([0, 1, 2, 3, 127, 128, 255]))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 20))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
    data = bytes(data)
    return repaired(data) if draw(st.booleans()) else data


@settings(max_examples=3000)
@given(damaged())
def test_damage_is_an_error_or_a_valid_file(data):
    try:
        file = unpack(data)
    except PromptcodecError:
        return
    assert 1 <= file.header.width * file.header.height <= container.MAX_PIXELS
