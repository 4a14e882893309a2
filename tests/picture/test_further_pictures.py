"""What a file holds beside the picture that is coded is named when it is lost; previews are in sRGB."""

import io
import struct
import warnings

import numpy as np
import pytest
from metadata_files import exif_of_a_camera, jpeg, segment
from PIL import Image
from test_output_formats import SWAPPED

import promptcodec
import promptcodec.pillow
from promptcodec.picture.exif import set_upright
from promptcodec.picture.read import read

RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
FRAMES = [Image.fromarray(np.full((24, 32, 3), value, np.uint8)) for value in (10, 90, 170, 250)]


def warned(source):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(source)
    return picture, [str(warning.message) for warning in caught]


def several(format, **options):
    file = io.BytesIO()
    FRAMES[0].save(file, format, save_all=True, append_images=FRAMES[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_frame_is_coded_or_the_current_one(format):
    data = several(format)
    picture, texts = warned(data)
    assert texts == ["only the first of 4 frames is kept"]
    assert abs(int(picture.rgb[0, 0, 0]) - 10) <= 3
    with Image.open(io.BytesIO(data)) as image:
        image.seek(2)
        picture, texts = warned(image)
    assert texts == ["only frame 3 of 4 frames is kept"]
    assert abs(int(picture.rgb[0, 0, 0]) - 170) <= 3


def test_further_views_of_an_mpo_file_are_named_and_pictures_in_small_are_no_loss():
    data = several("MPO")
    picture, texts = warned(data)
    assert texts == ["only picture 1 of 4 in this MPO file is kept"]
    assert abs(int(picture.rgb[0, 0, 0]) - 10) <= 3
    at = data.index(b"MPF\0") + 4
    small = bytearray(data)
    entries = data.index(struct.pack("<II", 0x030000, data.index(b"\xff\xd8", 4)), at)
    for i in range(1, 4):
        assert small[entries + 16 * i : entries + 16 * i + 4] == bytes(4)
        small[entries + 16 * i : entries + 16 * i + 4] = struct.pack("<I", 0x010002)
    assert warned(bytes(small))[1] == []


def test_icons_and_layers():
    file = io.BytesIO()
    Image.fromarray(RGB).resize((64, 64)).save(file, "ICO", sizes=[(16, 16), (32, 32), (64, 64)])
    picture, texts = warned(file.getvalue())
    assert picture.rgb.shape == (64, 64, 3)
    assert texts == ["only the largest of 3 sizes is kept"]


@pytest.mark.parametrize(
    "content",
    [segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><rdf:Description hdrgm:Version="1.0"/></x:xmpmeta>'),
     segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(8))],
    ids=["Ultra HDR", "ISO 21496-1"],
)  # fmt: skip
def test_gain_maps_of_jpeg_files_are_named_once(content):
    picture, texts = warned(jpeg(RGB, content))
    assert len(texts) == 1
    assert "gain map" in texts[0]
    assert picture.rgb.shape == RGB.shape
    data = several("MPO")
    texts = warned(data[:2] + content + data[2:])[1]
    assert len(texts) == 1
    assert "gain map" in texts[0]


def test_gain_maps_of_avif_files_are_named():
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "AVIF")
    data = bytearray(file.getvalue())
    assert warned(bytes(data))[1] == []
    with Image.open(io.BytesIO(data)) as image:
        at = data.index(b"MA1")  # one of its brands
        data[at : at + 4] = b"tmap"
        image.fp = io.BytesIO(data)  # the decoder has read the file; it wants a gain map behind the brand
        assert "gain map" in warned(image)[1][0]


def test_extended_xmp_is_named():
    more = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + bytes(8) + b"<a/>")
    texts = warned(jpeg(RGB, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"), more))[1]
    assert len(texts) == 1
    assert "extended XMP" in texts[0]


def test_previews_are_in_srgb(photo):
    """They stand in front of the profile: with it or without, what is shown has the same colours."""
    image = Image.fromarray(photo)
    plain = promptcodec.preview(promptcodec.encode(image, preview=True))
    image.info["icc_profile"] = SWAPPED
    data = promptcodec.encode(image, preview=True)
    small = promptcodec.preview(data)
    assert "icc_profile" not in small.info
    exchanged = np.asarray(plain)[:, :, [1, 0, 2]].astype(int)  # as the profile exchanges the primaries
    far = np.abs(np.asarray(small).astype(int) - np.asarray(plain)).mean()
    assert np.abs(np.asarray(small).astype(int) - exchanged).mean() < far / 2
    whole = promptcodec.decode(data)
    assert whole.info["icc_profile"] == SWAPPED
    assert np.abs(np.asarray(whole).astype(int) - photo).mean() < 15
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.info["icc_profile"] == SWAPPED
        opened.thumbnail((64, 64))
        assert "icc_profile" not in opened.info
    with_profile = promptcodec.preview(promptcodec.encode(image, preview=False))
    assert with_profile.info["icc_profile"] == SWAPPED


def test_info_lists_what_a_file_has(photo):
    image = Image.fromarray(photo)
    assert promptcodec.info(promptcodec.encode(image)).metadata == ()
    image.info |= {"icc_profile": SWAPPED, "exif": exif_of_a_camera(), "xmp": b"<x:xmpmeta/>"}
    found = list(promptcodec.info(promptcodec.encode(image)).metadata)
    note, thumbnail = 410, len(exif_of_a_camera().split(b"\xff\xd8")[1]) + 2
    assert found == [
        f"ICC profile 'sRGB built-in', {len(SWAPPED):,} bytes",
        f"EXIF with 10 tags, a maker note of {note} bytes, a GPS position, a thumbnail of {thumbnail} bytes",
        "XMP of 12 bytes",
    ]
    assert set_upright(exif_of_a_camera())[0] == promptcodec.decode(promptcodec.encode(image)).info["exif"][6:]
