"""Every format that Pillow writes: what a picture has is kept, converted, or named in one warning."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from metadata_files import exif_of_a_camera
from PIL import Image, ImageCms

from promptcodec.errors import ImageError
from promptcodec.picture.exif import set_upright
from promptcodec.picture.output_formats import FORMATS, table
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.srgb import in_srgb
from promptcodec.picture.write import write

Image.init()
EXTENSIONS = {name: sorted(s for s, n in Image.registered_extensions().items() if n == name) for name in FORMATS}
# Pillow has these, but writes none of our pictures: two levels, palettes, or no writer behind the name.
OTHERS = {"BLP", "BUFR", "GRIB", "HDF5", "MSP", "PALM", "WMF", "XBM", "SPIDER", "PTC"}
SIDE = 48  # as an icon's
FLAT = np.kron(np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8), np.ones((12, 12, 1), np.uint8))
ALPHA = np.full((SIDE, SIDE), 255, np.uint8)
ALPHA[:24] = 0
HALF = ALPHA // 2
EXIF = set_upright(exif_of_a_camera())[0]
PACKET = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
LOSSY = {"JPEG": 16, "MPO": 16, "AVIF": 40, "GIF": 0, "JPEG2000": 0}
UNREADABLE = {"EPS", "PDF"}  # by Pillow alone


def wide_profile():
    """sRGB's profile with red and green primaries exchanged: nobody can miss that it was not applied."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    places = {bytes(icc[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(int.from_bytes(icc[128:132], "big"))}
    red, green = places[b"rXYZ"], places[b"gXYZ"]
    icc[red + 4 : red + 12], icc[green + 4 : green + 12] = icc[green + 4 : green + 12], icc[red + 4 : red + 12]
    return bytes(icc)


SWAPPED = wide_profile()


def written(picture, suffix):
    """Bytes of the file, and the warnings."""
    file = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write(picture, file, suffix)
    texts = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    return file.getvalue(), texts


def reread(data, keeps):
    """What is in a file; pixels alone of those that keep no more."""
    if keeps.exif:
        return read(data)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return read(image.copy())


def test_the_table_has_every_format_that_pillow_writes():
    assert set(FORMATS) == set(Image.SAVE) - OTHERS
    page = (Path(__file__).resolve().parents[2] / "docs" / "metadata.md").read_text()
    assert "\n".join(table()) in page, "python -m benchmarks.results.write_formats writes it"


@pytest.mark.parametrize(
    "suffix", sorted(s for n in OTHERS for s, m in Image.registered_extensions().items() if m == n)
)
def test_formats_for_other_pictures_say_so(suffix):
    if suffix != ".ptc":
        with pytest.raises(ImageError, match="cannot write"):
            written(Picture(FLAT), suffix)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_colours_and_metadata_are_kept_converted_or_named(name, grey):
    pixels = FLAT[:, :, :1].repeat(3, axis=2) if grey else FLAT
    picture = Picture(pixels, grey, icc=None if grey else SWAPPED, exif=EXIF, xmp=PACKET)
    for suffix in EXTENSIONS[name]:
        data, texts = written(picture, suffix)
        keeps = FORMATS[name]
        assert sum("EXIF" in text for text in texts) == (0 if keeps.exif else 1), texts
        assert sum("XMP" in text for text in texts) == (0 if keeps.xmp else 1), texts
        assert len(texts) == (0 if keeps.exif and keeps.xmp else 1)
        if name in UNREADABLE:
            assert b"ICC" not in data
            continue
        with Image.open(io.BytesIO(data)) as image:
            assert bool(image.info.get("icc_profile")) == bool(keeps.icc and not grey)
            image.load()
            if name != "TIFF":
                assert bool(image.info.get("exif")) == bool(keeps.exif)
        again = reread(data, keeps)
        assert (again.xmp == PACKET) == bool(keeps.xmp)
        if keeps.exif:
            assert "José".encode() in again.exif
            assert name == "TIFF" or again.exif == EXIF
        expected, got = in_srgb(picture).rgb.astype(int), in_srgb(again).rgb.astype(int)
        step = got.shape[0] // 4
        got, expected = got[step // 2 :: step, step // 2 :: step], expected[6::12, 6::12]
        assert np.abs(got - expected).max() <= LOSSY.get(name, 0) + 1


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("alpha", [ALPHA, HALF], ids=["on or off", "half"])
def test_transparency_is_kept_or_named(name, alpha, grey):
    pixels = FLAT[:, :, :1].repeat(3, axis=2) if grey else FLAT
    keeps = FORMATS[name].alpha
    for suffix in EXTENSIONS[name]:
        data, texts = written(Picture(pixels, grey, alpha), suffix)
        kept = keeps == "kept" or (keeps == "on or off" and alpha is ALPHA)
        assert len(texts) == (0 if kept else 1), texts
        assert kept or "transparency" in texts[0]
        if name == "PDF":
            assert b"SMask" in data
        if name in UNREADABLE:
            continue
        again = reread(data, FORMATS[name])
        if kept:
            middle = again.alpha.shape[0] // 4
            assert abs(int(again.alpha[middle, middle]) - int(alpha[12, 12])) <= 1
            assert abs(int(again.alpha[3 * middle, middle]) - int(alpha[36, 12])) <= 1
        elif keeps == "white":
            assert again.alpha is None
            if alpha is ALPHA:
                assert again.rgb[6, 6].min() >= 255 - LOSSY.get(name, 0)


def test_a_profile_that_png_readers_refuse_is_applied():
    for size, kept in ((2**20 - 1, True), (1_500_000, False)):
        noise = np.random.default_rng(0).bytes(size - len(SWAPPED))
        picture = Picture(FLAT, icc=SWAPPED + noise)
        data, texts = written(picture, "png")
        assert [("too large" in text) for text in texts] == ([] if kept else [True])
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert bool(image.info.get("icc_profile")) == kept
        assert np.abs(in_srgb(read(data)).rgb.astype(int) - in_srgb(picture).rgb).max() <= 1
        for suffix in ("jpg", "webp", "tiff", "avif"):
            data, texts = written(picture, suffix)
            assert texts == []
            assert read(data).icc == picture.icc


def test_what_is_too_large_for_jpeg_is_named():
    texts = written(Picture(FLAT, xmp=b"<a/>" + b" " * 65_501), "jpg")[1]
    assert len(texts) == 1
    assert "XMP of more than 65,504 bytes" in texts[0]
    data, texts = written(Picture(FLAT, xmp=b"<a/>" + b" " * 65_500, exif=EXIF + bytes(65_527 - len(EXIF))), "jpg")
    assert texts == []
    assert len(read(data).xmp) == 65_504
    texts = written(Picture(FLAT, exif=EXIF + bytes(65_528 - len(EXIF))), "jpg")[1]
    assert len(texts) == 1
    assert "EXIF" in texts[0]


def test_xmp_in_other_encodings_reaches_png():
    data, texts = written(Picture(FLAT, xmp="<x:xmpmeta é/>".encode("utf-16")), "png")
    assert texts == []
    assert read(data).xmp == "<x:xmpmeta é/>".encode()
    assert "no Unicode" in written(Picture(FLAT, xmp=b"<x:xmpmeta \xe9/>"), "png")[1][0]


def test_icons_say_that_they_are_small():
    picture = Picture(np.zeros((300, 400, 3), np.uint8))
    assert "256 pixels" in written(picture, "ico")[1][0]


def test_a_profile_for_other_colours_is_named():
    cmyk = bytearray(SWAPPED)
    cmyk[16:20] = b"CMYK"
    with pytest.warns(UserWarning, match="other colours"):
        assert (in_srgb(Picture(FLAT, icc=bytes(cmyk))).rgb == FLAT).all()
