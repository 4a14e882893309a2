"""Metadata never decides whether a picture is coded, decoded or stands upright, and comes through byte for byte."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from metadata_files import (
    ARTIST,
    JOSE,
    MAKER_NOTE,
    ORIENTATION,
    THUMBNAIL,
    XMP,
    exif_of_a_camera,
    jpeg,
    numbers,
    png,
    segment,
    tiff,
)
from PIL import Image, ImageCms

from promptcodec.bitstream.contents import MAX_METADATA
from promptcodec.errors import ImageError
from promptcodec.picture import exif, xmp
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.tiff_directory import TiffError, TiffReader
from promptcodec.picture.write import to_pil, write

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(16) * 3, np.arange(24) * 5)[:, :, None].repeat(3, axis=2).astype(np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description tiff:Orientation='6'/></x:xmpmeta>"
APP1_XMP = b"http://ns.adobe.com/xap/1.0/\0"


def quiet(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read(source)


def warned(source, *phrases):
    """The picture, whose reading gives one warning for each phrase and no other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(source)
    texts = [str(warning.message) for warning in caught if "Pil" not in warning.filename]
    ours = [text for text in texts if "orrupt" not in text]  # Pillow's own words
    assert len(ours) == len(phrases), texts
    assert all(phrase in text for phrase, text in zip(phrases, ours, strict=True)), texts
    return picture


def tags(data):
    reader = TiffReader(io.BytesIO(data))
    directory = reader.directory(reader.first)
    inner = {}
    for pointer in (0x8769, 0x8825):
        entry = directory.entry(pointer)
        if entry is not None:
            inner |= {e.tag: (e.type, e.value) for e in reader.directory(entry.integer(reader.order)).entries}
    return {e.tag: (e.type, e.value) for e in directory.entries}, inner, reader.order


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_exif_stays_byte_for_byte_but_for_two(order, format):
    data = exif_of_a_camera(order)
    if format == "JPEG":
        file = jpeg(SMOOTH, segment(0xE1, b"Exif\0\0" + data))
    else:
        buffer = io.BytesIO()
        Image.fromarray(SMOOTH).save(buffer, format, exif=data if format != "AVIF" else b"")
        file = buffer.getvalue()
        if format == "AVIF":
            buffer = io.BytesIO()
            write(Picture(SMOOTH, exif=data), buffer, "avif")  # Pillow would write the tags anew
            file = buffer.getvalue()
    picture = quiet(file)
    assert len(picture.exif) == len(data)
    changed = [at for at in range(len(data)) if picture.exif[at] != data[at]]
    assert len(changed) == 1  # of the two bytes of a 6
    assert picture.rgb.shape == (24, 16, 3) or format == "AVIF"
    if format in ("PNG", "WEBP"):
        upright = np.rot90(SMOOTH, -1)
        assert format == "WEBP" or (picture.rgb == upright).all()
    first, inner, _ = tags(picture.exif)
    assert first[ORIENTATION] == (3, numbers(order, "H", 1))
    assert first[ARTIST] == (2, JOSE + b"\0")
    assert first[0xC999] == (99, b"\1\2\3\4")
    note = inner[0x927C][1]
    at = struct.unpack(order + "I", note[-4:])[0]
    assert picture.exif[at : at + len(MAKER_NOTE)] == MAKER_NOTE  # where it says that it is
    assert picture.exif.endswith(THUMBNAIL)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures_stand_upright(orientation):
    """The inverse turns, by NumPy: what the orientation says of the stored rows and columns."""
    turns = {1: lambda p: p, 2: np.fliplr, 3: lambda p: np.rot90(p, 2), 4: np.flipud,
             5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1),
             7: lambda p: np.rot90(p, 2).swapaxes(0, 1), 8: np.rot90}  # fmt: skip
    expected = turns[orientation](RGB)
    data = exif_of_a_camera("<", (3, orientation))
    assert (quiet(png(RGB, (b"eXIf", data))).rgb == expected).all()
    entry = (ORIENTATION, 3, numbers("<", "H", orientation))
    assert (quiet(tiff(RGB, "<", [entry])).rgb == expected).all()


@pytest.mark.parametrize("orientation", [(3, 0), (3, 9), (3, 65_535), (4, 0), (1, 0), (4, 1), (4, 70_000)])
@pytest.mark.parametrize("order", "<>")
def test_an_orientation_out_of_range_counts_as_one_and_is_stored_as_one(orientation, order, tmp_path):
    picture = quiet(jpeg(RGB, segment(0xE1, b"Exif\0\0" + exif_of_a_camera(order, orientation))))
    assert picture.rgb.shape == RGB.shape
    assert tags(picture.exif)[0][ORIENTATION] == (3, numbers(order, "H", 1))
    for name in ("tiff", "png", "jpg", "webp", "avif"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write(picture, tmp_path / f"a.{name}")
        assert (read(tmp_path / f"a.{name}").rgb.shape) == RGB.shape
    assert quiet(tiff(RGB, order, [(ORIENTATION, 3, numbers(order, "H", 0))])).rgb.shape == RGB.shape


@pytest.mark.parametrize("kind", [1, 4])
def test_an_orientation_of_another_type_is_applied_and_stored_as_one(kind):
    picture = quiet(jpeg(RGB, segment(0xE1, b"Exif\0\0" + exif_of_a_camera(">", (kind, 6)))))
    assert picture.rgb.shape == (9, 6, 3)
    assert tags(picture.exif)[0][ORIENTATION] == (3, b"\0\1")


@pytest.mark.parametrize("order", "<>")
def test_the_tags_of_a_tiff_keep_their_bytes_and_types(order):
    def exif_directory(at):
        from metadata_files import directory

        return directory(order, [(0x927C, 7, MAKER_NOTE), (0x9C9B, 1, "é".encode("utf-16-le"))], at)

    extra = [
        (ARTIST, 2, JOSE + b"\0"), (270, 2, b"latin \xe9\0"), (0x8769, 4, exif_directory),
        (40_000, 4, numbers(order, "I", 1, 2, 70_000)), (40_001, 12, struct.pack(order + "d", 0.1)),
        (40_002, 99, b"\4\3\2\1"), (ORIENTATION, 3, numbers(order, "H", 6)),
    ]  # fmt: skip
    picture = quiet(tiff(RGB, order, extra))
    assert (picture.rgb == np.rot90(RGB, -1)).all()
    first, inner, kept_order = tags(picture.exif)
    assert kept_order == order
    assert first[ARTIST] == (2, JOSE + b"\0")
    assert first[270] == (2, b"latin \xe9\0")
    assert first[40_000] == (4, numbers(order, "I", 1, 2, 70_000))
    assert first[40_002] == (99, b"\4\3\2\1")
    assert inner[0x927C] == (7, MAKER_NOTE)
    assert not {256, 257, 258, 273, 279, ORIENTATION} & set(first)


def test_a_big_tiff_gives_plain_exif_data():
    entries = [(256, 3, 1, 9), (257, 3, 1, 6), (258, 3, 3, (8 << 32) + (8 << 16) + 8), (259, 3, 1, 1), (262, 3, 1, 2),
               (273, 16, 1, 16), (277, 3, 1, 3), (278, 3, 1, 6), (279, 16, 1, RGB.size),
               (ARTIST, 2, 6, int.from_bytes(JOSE + b"\0", "little")), (40_000, 16, 1, 12_345)]  # fmt: skip
    start = 16 + RGB.size + RGB.size % 2
    data = b"II" + struct.pack("<HHHQ", 43, 8, 0, start) + RGB.tobytes() + bytes(RGB.size % 2)
    data += struct.pack("<Q", len(entries)) + b"".join(struct.pack("<HHQQ", *entry) for entry in entries) + bytes(8)
    picture = quiet(data)
    assert (picture.rgb == RGB).all()
    first, _, _ = tags(picture.exif)
    assert first[ARTIST] == (2, JOSE + b"\0")
    assert first[40_000] == (4, struct.pack("<I", 12_345))


def test_a_tiff_from_pillow_in_memory_keeps_the_bytes_of_its_text():
    image = Image.open(io.BytesIO(tiff(RGB, "<", [(ARTIST, 2, JOSE + b"\0")])))
    assert tags(quiet(image).exif)[0][ARTIST] == (2, JOSE + b"\0")
    image = Image.open(io.BytesIO(tiff(RGB, "<", [(ARTIST, 2, JOSE + b"\0")])))
    image.load()
    image.fp = None
    assert tags(quiet(image).exif)[0][ARTIST] == (2, JOSE + b"\0")
    new = Image.fromarray(RGB)
    new.getexif()[ARTIST] = "Ωmega"
    assert tags(quiet(new).exif)[0][ARTIST] == (2, "Ωmega".encode() + b"\0")


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 7])
def test_xmp_of_any_type_in_a_tiff(kind):
    packet = PACKET.replace(b"'6'", b"'1'") + b" " * (-len(PACKET) % 4)
    picture = quiet(tiff(RGB, "<", [(XMP, kind, packet)]))
    assert (picture.rgb == RGB).all()
    assert picture.xmp == packet
    nonsense = warned(tiff(RGB, "<", [(XMP, kind, bytes(range(200, 240)))]), "XMP cannot be read")
    assert (nonsense.rgb == RGB).all()
    assert nonsense.xmp is None


GOOD_EXIF = segment(0xE1, b"Exif\0\0" + exif_of_a_camera())
BAD_EXIF = [b"Exif\0\0XX*\0\x08\0\0\0\1\0", b"Exif\0\0II*\0\xff\xff\0\0", b"Exif\0\0II*\0\x08\0\0\0\x09\0abc"]


@pytest.mark.parametrize("bad", BAD_EXIF)
def test_exif_and_xmp_are_judged_apart(bad):
    packet = segment(0xE1, APP1_XMP + PACKET)
    picture = warned(jpeg(RGB, segment(0xE1, bad), packet), "EXIF data cannot be read")
    assert picture.exif is None
    assert picture.xmp == PACKET.replace(b"'6'", b"'1'")
    assert picture.rgb.shape == (9, 6, 3)  # as the XMP says
    picture = warned(jpeg(RGB, GOOD_EXIF, segment(0xE1, APP1_XMP + b"\1\2\3")), "XMP cannot be read")
    assert picture.exif is not None
    assert picture.xmp is None
    assert picture.rgb.shape == (9, 6, 3)


def test_xmp_in_other_encodings_and_spellings_is_set_upright():
    for spelling in ("tiff:Orientation='6'", 'tiff:Orientation = "6"', 'xmlns:t="http://ns.adobe.com/tiff/1.0/" '
                     't:Orientation="6"', "><tiff:Orientation >\n 6 </tiff:Orientation>"):  # fmt: skip
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be"):
            text = f"<x:xmpmeta é {spelling}/>"
            packet, orientation = xmp.set_upright(text.encode(encoding))
            assert orientation == 6
            assert packet.decode(encoding) == text.replace("6", "1")
    latin = b"<x:xmpmeta a='\xe9' tiff:Orientation='3'/>"
    assert xmp.set_upright(latin) == (latin.replace(b"3", b"1"), 3)
    hostile = b"<tiff:Orientation>" + b" " * 200_000 + b"<a " * 100_000
    assert xmp.set_upright(hostile)[1] is None


def icc_chunk(profile):
    return (b"iCCP", b"p\0\0" + zlib.compress(profile))


BROKEN = {
    "png exif crc": (png(SMOOTH, (b"eXIf", exif_of_a_camera(), 7)), ["EXIF data"]),
    "png text crc": (png(SMOOTH, (b"tEXt", b"a\0b", 7), (b"eXIf", exif_of_a_camera("<", (3, 1)))), ["text"]),
    "png text size": (png(SMOOTH, (b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))), ["text"]),
    "png time": (png(SMOOTH, (b"tIME", b"", 7)), ["time"]),
    "png profile crc": (png(SMOOTH, (*icc_chunk(SRGB), 7)), ["ICC profile"]),
    "jpeg index": (jpeg(SMOOTH, segment(0xE2, b"MPF\0II*\0\x08\0\0\0\2\0" + struct.pack(
        "<HHIIHHI4s", 0xB001, 4, 1, 2, 0xB002, 7, 4, b"abcd"))), []),
    "tiff pointer": (tiff(SMOOTH, "<", [(0x8769, 9, struct.pack("<i", -5))]), ["EXIF data"]),
    "tiff profile": (tiff(SMOOTH, "<", [(34_675, 4, numbers("<", "I", 5))]), ["ICC profile"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_pixels_survive_what_pillow_stumbles_over(case):
    data, names = BROKEN[case]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(data)
    texts = [str(warning.message) for warning in caught]
    assert np.abs(picture.rgb.astype(int) - SMOOTH).max() <= 4
    for name in names:
        assert sum(name in text for text in texts) == 1, texts
    if case == "png text crc":
        assert picture.exif == exif_of_a_camera("<", (3, 1))  # which was not in the way


def test_a_large_profile_and_large_xmp_of_a_png_are_kept():
    large = SRGB + np.random.default_rng(0).bytes(1_500_000)
    packet = PACKET.replace(b"'6'", b"'1'") + b" " * 2_000_000
    text = (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet))
    picture = quiet(png(SMOOTH, icc_chunk(large), text))
    assert picture.icc == large
    assert picture.xmp == packet


@pytest.mark.parametrize("maker", [jpeg, png, tiff])
def test_whatever_the_metadata_says_the_pixels_are_read(maker):
    """Random bytes changed within the metadata: the picture is there, upright or turned."""
    rng = np.random.default_rng(1)
    data = exif_of_a_camera()
    mpf = b"MPF\0II*\0\x08\0\0\0\2\0" + struct.pack("<HHIIHHII", 0xB001, 4, 1, 2, 0xB002, 7, 32, 38) + bytes(4 + 32)
    for _ in range(120):
        parts = [bytearray(part) for part in (data, PACKET, SRGB, mpf)]
        for part in parts:
            for _ in range(rng.integers(0, 4)):
                part[rng.integers(len(part))] = rng.integers(256)
        exif_part, packet, profile, index = map(bytes, parts)
        if maker is jpeg:
            file = jpeg(SMOOTH, segment(0xE1, b"Exif\0\0" + exif_part), segment(0xE1, APP1_XMP + packet),
                        segment(0xE2, b"ICC_PROFILE\0\1\1" + profile), segment(0xE2, index))  # fmt: skip
        elif maker is png:
            crc = 7 if rng.random() < 0.3 else zlib.crc32(b"eXIf" + exif_part)
            file = png(SMOOTH, (b"eXIf", exif_part, crc), (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet),
                       icc_chunk(profile))  # fmt: skip
        else:
            kinds = rng.integers(1, 14, 3)
            pointer = struct.pack("<i", rng.integers(-5, 2_000))
            file = tiff(SMOOTH, "<", [(XMP, kinds[0], packet + bytes(4)), (34_675, kinds[1], profile + bytes(4)),
                                      (0x8769, kinds[2], pointer), (33_723, 4, bytes(8))])  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = read(file)
        assert sorted(picture.rgb.shape) == [3, 16, 24]
        for part in ("exif", "xmp"):
            assert getattr(picture, part) is None or getattr(picture, part) != b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for suffix in ("tiff", "png", "jpg", "webp", "jp2"):
                buffer = io.BytesIO()
                write(picture, buffer, suffix)
                with Image.open(io.BytesIO(buffer.getvalue())) as image:
                    image.load()


def test_profiles_of_jpeg_2000_and_bmp_files():
    file = io.BytesIO()
    Image.fromarray(SMOOTH).save(file, "JPEG2000")
    data = file.getvalue()
    at = data.index(b"colr") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    colours = struct.pack(">I", 11 + len(SRGB)) + b"colr\2\0\0" + SRGB
    outer = data.index(b"jp2h") - 4
    longer = int.from_bytes(data[outer : outer + 4], "big") - size + len(colours)
    data = data[:at] + colours + data[at + size :]
    assert quiet(data[:outer] + struct.pack(">I", longer) + data[outer + 4 :]).icc == SRGB
    assert quiet(file.getvalue()).icc is None

    pixels = SMOOTH[::-1, :, ::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, 24, 16, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16) + b"DEBM"
    header = header.ljust(112, b"\0") + struct.pack("<III", 124 + len(pixels), len(SRGB), 0)
    bmp = b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(SRGB), 0, 0, 138) + header + pixels + SRGB
    picture = quiet(bmp)
    assert picture.icc == SRGB
    assert (picture.rgb == SMOOTH).all()


def test_damaged_pixels_are_still_refused():
    data = png(RGB, (b"tEXt", b"a\0b", 7))
    with pytest.raises(ImageError, match="not a picture"):
        read(data[:-30])
    with pytest.raises(ImageError, match="damaged"):
        read(png(RGB, (b"tEXt", b"a\0b"))[:-30])


def test_metadata_larger_than_a_file_takes_is_named():
    large = b"<a/>" + b" " * MAX_METADATA
    image = Image.fromarray(RGB)
    image.info["xmp"] = large
    assert warned(image, "XMP has").xmp is None
    image = Image.fromarray(RGB)
    image.info["icc_profile"] = SRGB + bytes(MAX_METADATA)
    picture = warned(image, "ICC profile has")
    assert picture.icc is None
    assert np.abs(picture.rgb.astype(int) - RGB).max() <= 1


def test_text_profiles_of_imagemagick():
    data = exif_of_a_camera()
    raw = f"\nexif\n{len(data):8}\n{data.hex()}\n".encode()
    picture = quiet(png(RGB, (b"tEXt", b"Raw profile type exif\0" + raw)))
    assert (picture.rgb == np.rot90(RGB, -1)).all()
    assert picture.exif == exif.set_upright(data)[0]
    assert warned(png(RGB, (b"tEXt", b"Raw profile type exif\0\nexif\n 8\nxyz\n")), "EXIF").exif is None


def test_the_exif_module_refuses_what_has_no_directory():
    with pytest.raises(TiffError):
        exif.set_upright(b"hello, world")


@pytest.mark.parametrize("order", "<>")
def test_tiff_files_get_tags_byte_for_byte(order, tmp_path):
    data = exif.set_upright(exif_of_a_camera(order))[0]
    packet = PACKET.replace(b"'6'", b"'1'")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(Picture(RGB, icc=SRGB, exif=data, xmp=packet), tmp_path / "a.tiff")
    again = quiet(tmp_path / "a.tiff")
    assert (again.rgb == RGB).all()
    assert again.icc == SRGB
    assert again.xmp == packet
    before, after = tags(data), tags(again.exif)
    assert after[1:] == before[1:]
    assert {tag: value for tag, value in before[0].items() if tag not in (ORIENTATION, 0x8769, 0x8825)}.items() <= (
        after[0].items()
    )
    with Image.open(tmp_path / "a.tiff") as image:
        assert image.tag_v2[ARTIST].encode("latin-1") == JOSE
        assert (np.asarray(image) == RGB).all()


def test_writers_do_without_metadata_rather_than_fail(tmp_path, monkeypatch):
    from PIL import WebPImagePlugin

    real = WebPImagePlugin._save

    def picky(image, file, name):
        if image.encoderinfo.get("exif"):
            file.write(b"half of it")
            raise ValueError("I do not like this")
        real(image, file, name)

    monkeypatch.setitem(Image.SAVE, "WEBP", picky)
    rich = Picture(RGB, icc=SRGB, exif=exif_of_a_camera("<", (3, 1)), xmp=b"<a/>")
    with pytest.warns(UserWarning, match="EXIF data; left out .I do not like this.") as caught:
        write(rich, tmp_path / "a.webp")
    assert len(caught) == 1
    again = read(tmp_path / "a.webp")
    assert (again.rgb == RGB).all()
    assert (again.xmp, again.exif, again.icc) == (b"<a/>", None, SRGB)
    pipe = io.BytesIO()
    pipe.seekable = lambda: False
    with pytest.warns(UserWarning, match="EXIF"):
        write(rich, pipe, "webp")
    assert (read(pipe.getvalue()).rgb == RGB).all()

    def broken(image, file, name):
        raise ValueError("never")

    monkeypatch.setitem(Image.SAVE, "WEBP", broken)
    with pytest.raises(ImageError, match="never"):
        write(rich, tmp_path / "b.webp")
    assert not (tmp_path / "b.webp").exists()


def test_to_pil_gives_what_pillow_writes():
    picture = quiet(jpeg(RGB, GOOD_EXIF))
    assert to_pil(picture).getexif()[ORIENTATION] == 1
