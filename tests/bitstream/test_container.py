"""The container: there and back, limits, versions, and thousands of damaged files."""

import dataclasses
import io
import itertools
import zlib

import pytest
from chunks import repaired
from counting_file import CountingFile
from hypothesis import given, settings
from hypothesis import strategies as st

from promptcodec.bitstream import container, contents
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
)  # fmt: skip
from promptcodec.bitstream.contents import AdapterRecord, leb128, read_leb128
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


@pytest.mark.parametrize("version", [*container.UNRELEASED, container.VERSION + 1, 255])
def test_other_versions(version):
    data = bytearray(pack(FILE))
    data[4] = version
    advice = "encode the picture again" if version in container.UNRELEASED else "a newer one may read it"
    calls = (unpack, read_header, lambda data: container.read_preview(io.BytesIO(data)))
    for call in calls:
        with pytest.raises(VersionError) as caught:
            call(bytes(data))
        for part in (f"format version {version}", f"reads {container.VERSION}", advice):
            assert part in str(caught.value)


def test_a_file_of_the_format_before_the_first_release():
    """As ``encode`` wrote it then, all CRCs in order: noticed by its version, not taken for a damaged one."""
    old = bytes.fromhex(
        "8f505443010111030200aaaaaaaaaaaaaaaa62616463050033d2335902115c3e1f6e01000073747265616d01000001143c9901"
    )
    with pytest.raises(VersionError, match=r"version 1, from before the first release.*encode the picture again"):
        unpack(old)


def test_future_features():
    with pytest.raises(VersionError, match="0x20"):
        unpack(pack(FILE) + container.chunk(0x20, b"prompt"))
    for flag in (0x10, 0x20, 0x40, 0x80):
        with pytest.raises(VersionError, match="flags"):
            read_header(header_bytes(768, 512, flag))


@pytest.mark.parametrize("kind", [container.GAIN_MAP, container.REFINEMENT, 0xA0, 0xFF])
@pytest.mark.parametrize("file", [FILE, RICH, TILED], ids=["plain", "rich", "tiled"])
def test_ancillary_chunks_of_the_future_are_skipped(kind, file):
    """Anywhere behind the preview, any number of them; but their CRCs count."""
    data, extra = pack(file), container.chunk(kind, b"\0\1layer")
    start = len(data) - len(b"".join(chunks_of(data)[1 + (file.preview is not None) :]))
    for at in (start, len(data)):
        assert unpack(data[:at] + extra + extra + data[at:]) == file
        with pytest.raises(FormatError, match="wrong CRC"):
            unpack(data[:at] + extra[:-1] + bytes([extra[-1] ^ 1]) + data[at:])


def test_samples_of_the_future_are_refused():
    """By the flag in the header, so that its first bytes will do; and by their chunk."""
    for data in (header_bytes(768, 512, 0x08), header_bytes(768, 512, 0x0F), header_bytes(768, 512, 0x88)):
        for call in (read_header, unpack, lambda data: container.read_preview(io.BytesIO(data))):
            with pytest.raises(VersionError, match="samples of more than 8 bits or of high dynamic range"):
                call(data)
    with pytest.raises(VersionError, match="samples of more than 8 bits or of high dynamic range"):
        unpack(pack(FILE) + container.chunk(container.SAMPLE_FORMAT, b"\x10\x09\x10\0\1"))


def chunks_of(data):
    """The chunks of a file, as bytes."""
    found, position = [], 5
    while position < len(data):
        length, start = read_leb128(data, position + 1)
        found.append(data[position : start + length + 4])
        position = start + length + 4
    return found


def integers_of(data):
    """The checksums of the integers that a reader will expect, those of the preview last."""
    file = unpack(data)
    return [tile.checksum for tile in (*file.tiles, *([file.preview.tile] if file.preview else []))]


def test_checksums_are_bound_to_their_place():
    """Every two tiles of equal size, exchanged: neither has the checksum of its integers any more."""
    header, preview, *tiles = chunks_of(pack(TILED))
    for i, j in itertools.combinations(range(6), 2):
        swapped = list(tiles)
        swapped[i], swapped[j] = tiles[j], tiles[i]
        found = integers_of(data := pack(TILED)[:5] + b"".join([header, preview, *swapped]))
        assert found[i] != j
        assert found[j] != i
        assert [found[k] for k in range(6) if k not in (i, j)] == [k for k in range(6) if k not in (i, j)]
        reader = PtcReader(io.BytesIO(data))
        assert (reader.place_of(i, j), reader.place_of(j, i)) == (j, i)
        assert reader.place_of(i, 77) is None


HEADERS = {
    "width": {"width": 701}, "height": {"height": 499}, "q": {"q": 10}, "grey": {"grey": True},
    "probability": {"probability": b"12345679"}, "pixels": {"pixels": b"abce"},
    "tile height": {"tile_height": 512, "tile_width": 256}, "alpha": {"alpha": True},
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_checksums_are_bound_to_the_header(name):
    """Tiles and preview under another header, which alone would decode them to something else."""
    tiles = dataclasses.replace(TILED, adapters=(AdapterRecord("look", b"87654321", b"\x34\x12"),))
    header = dataclasses.replace(TILED.header, **HEADERS[name])
    alpha = Metadata(alpha=b"\0\xff") if header.alpha else Metadata()
    count = header.grid.count
    other = dataclasses.replace(tiles, header=header, tiles=tiles.tiles[:count], metadata=alpha)
    own, others = chunks_of(pack(tiles)), chunks_of(pack(other))
    moved = b"".join([others[0], own[1], *others[2 : len(others) - count], *own[-6:][:count]])
    found = integers_of(pack(tiles)[:5] + moved)
    assert all(a != b for a, b in zip(found, [*range(count), 3], strict=True))


@pytest.mark.parametrize(
    "records", [(), (("look", b"\x34\x13"),), (("lool", b"\x34\x12"),), (("look", b"\x34\x12"),) * 2]
)
def test_checksums_are_bound_to_the_adapters(records):
    steered = dataclasses.replace(TILED, adapters=(AdapterRecord("look", b"87654321", b"\x34\x12"),))
    others = tuple(AdapterRecord(name, b"87654321", signal) for name, signal in records)
    own = chunks_of(pack(steered))
    changed = chunks_of(pack(dataclasses.replace(steered, adapters=others)))
    found = integers_of(pack(TILED)[:5] + b"".join([*changed[:-6], *own[-6:]]))
    assert all(a != b for a, b in zip(found[:6], range(6), strict=True))
    assert found[6] == 3  # the preview takes no adapters


def test_the_preview_is_bound_to_its_own_rate_and_size():
    header, preview, *tiles = chunks_of(pack(TILED))
    payload = preview[2:-4]
    for at in range(4):  # width, height, q
        changed = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        data = b"".join([pack(TILED)[:5], header, container.chunk(container.PREVIEW, changed), *tiles])
        assert integers_of(data)[:6] == list(range(6))
        assert unpack(data).preview.tile.checksum != 3
        assert container.read_preview(io.BytesIO(data))[1] == unpack(data).preview


def test_numbers_have_one_spelling():
    assert read_leb128(b"\x80\x01", 0) == (128, 2)
    for longer in (b"\x80\x00", b"\xff\x00", b"\x80\x80\x00", b"\x81\x80\x80\x80\x00"):
        with pytest.raises(FormatError, match="more bytes than it needs"):
            read_leb128(longer, 0)
    padded = b"\x83\x00" + leb128(2) + contents._FIXED.pack(0, b"12345678", b"abcd", 0)
    with pytest.raises(FormatError, match="more bytes than it needs"):
        read_header(container.SIGNATURE + bytes([container.VERSION]) + container.chunk(container.HEADER, padded))


def test_what_was_read_is_written_as_it_was():
    for file in (FILE, RICH, TILED):
        assert pack(unpack(pack(file))) == pack(file)


def header_bytes(width, height, flags=0):
    payload = leb128(width) + leb128(height) + contents._FIXED.pack(flags, b"12345678", b"abcd", 0)
    return container.SIGNATURE + bytes([container.VERSION]) + container.chunk(container.HEADER, payload)


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
        unpack(pack(FILE) + container.chunk(container.XMP, bomb))


def test_twice_the_same_chunk():
    with pytest.raises(FormatError, match="more tiles"):
        unpack(pack(FILE) + container.chunk(container.TILE, b"12345"))
    with pytest.raises(FormatError, match="second"):
        unpack(pack(RICH) + container.chunk(container.EXIF, zlib.compress(b"II*\0")))


def test_tiles_and_preview():
    assert unpack(pack(TILED)) == TILED
    header, preview = container.read_preview(io.BytesIO(pack(TILED)[:80]))
    assert (header, preview) == (TILED.header, TILED.preview)
    assert container.read_preview(io.BytesIO(pack(FILE)[:60])) == (FILE.header, None)
    with pytest.raises(FormatError, match="fewer tiles"):
        unpack(pack(TILED)[: -len(chunks_of(pack(TILED))[-1])])
    with pytest.raises(FormatError, match="asks for 6 tiles"):
        pack(dataclasses.replace(TILED, tiles=TILED.tiles[:-1]))


@pytest.mark.parametrize(("columns", "rows"), [(0, 1), (1, 0), (3, 2), (257, 1)])
def test_tiles_that_divide_nothing(columns, rows):
    payload = leb128(768) + leb128(512) + contents._FIXED.pack(4, b"12345678", b"abcd", 0)
    payload += leb128(columns) + leb128(rows)
    with pytest.raises(FormatError, match="do not divide"):
        read_header(container.SIGNATURE + bytes([container.VERSION]) + container.chunk(container.HEADER, payload))


def test_a_preview_elsewhere_or_too_large():
    header, preview, *tiles = chunks_of(pack(TILED))
    for others in ([*tiles, preview], [container.chunk(0xA0, b""), preview, *tiles], [tiles[0], preview, *tiles[1:]]):
        with pytest.raises(FormatError, match="behind the header"):
            unpack(pack(TILED)[:5] + b"".join([header, *others]))
    large = dataclasses.replace(TILED, preview=Preview(1025, 1, 0, Tile(1, b"", b"")))
    with pytest.raises(FormatError, match="at most 1024"):
        unpack(pack(large))


def test_reading_one_tile_reads_little_more():
    """Chunks are hopped over, and an other tile's damage does not matter."""
    big = dataclasses.replace(TILED, tiles=tuple(Tile(i, b"", bytes([i]) * 10_000) for i in range(6)))
    data = bytearray(pack(big))
    data[-5000] ^= 1

    file = CountingFile(bytes(data))
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
