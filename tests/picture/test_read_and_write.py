"""Pictures in and out: modes, metadata, orientation, colour, arrays, tensors, damage."""

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, PngImagePlugin

from promptcodec.errors import ImageError, LimitError, PromptcodecError, UsageError
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.write import to_pil, write

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_every_kind_of_source(tmp_path):
    image = Image.fromarray(RGB)
    path = tmp_path / "a.png"
    image.save(path)
    tensor = torch.from_numpy(RGB).permute(2, 0, 1)
    for source in (
        path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), image, RGB, tensor, tensor[None],
        RGB.astype(np.float32) / 255, tensor.double() / 255, RGB.astype(np.float64) / 255,
    ):  # fmt: skip
        picture = read(source)
        assert (picture.rgb == RGB).all()
        assert not picture.grey
        assert picture.alpha is None


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_of_all_channel_counts(channels):
    array = np.random.default_rng(1).integers(0, 256, (5, 4, channels), dtype=np.uint8)
    picture = read(array)
    assert picture.grey == (channels < 3)
    assert (picture.rgb[:, :, 0] == array[:, :, 0]).all()
    assert (picture.alpha is None) == (channels in (1, 3))
    if picture.alpha is not None:
        assert (picture.alpha == array[:, :, -1]).all()


@pytest.mark.parametrize(
    "bad",
    [np.zeros((2, 2, 5), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros(7, np.uint8), np.full((2, 2), np.nan),
     np.full((2, 2), 200.0), np.full((2, 2), -1), np.full((2, 2), 70_000), torch.zeros(2, 3, 4, 4), torch.zeros(4, 4),
     np.full((2, 2), 1j)],
)  # fmt: skip
def test_bad_arrays(bad):
    with pytest.raises(ImageError):
        read(bad)


def test_bad_sources():
    with pytest.raises(UsageError, match="int"):
        read(5)
    with pytest.raises(ImageError, match="not a picture"):
        read(b"hello")
    with pytest.raises(FileNotFoundError):
        read("there is no such file.png")
    with pytest.raises(LimitError):
        read(np.broadcast_to(np.zeros(1, np.uint8), (70_000, 2)))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
def test_damaged_pictures(format):
    data = encoded(Image.fromarray(np.tile(RGB, (20, 20, 1))), format)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(data[: rng.integers(8, len(data))] if rng.random() < 0.5 else data)
        for _ in range(5):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(bytes(damaged))
            except (ImageError, LimitError):
                pass


def test_grey_palette_and_alpha():
    grey = Image.fromarray(RGB[:, :, 0])
    picture = read(grey)
    assert picture.grey
    assert to_pil(picture).mode == "L"
    assert (np.asarray(to_pil(picture)) == RGB[:, :, 0]).all()

    palette = Image.fromarray(RGB // 64 * 64).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (read(palette).rgb == np.asarray(palette.convert("RGB"))).all()
    palette.info["transparency"] = 3
    assert (read(palette).alpha == np.asarray(palette.convert("RGBA"))[:, :, 3]).all()

    alpha = np.arange(54, dtype=np.uint8).reshape(6, 9)
    rgba = Image.fromarray(np.dstack([RGB, alpha]))
    picture = read(encoded(rgba))
    assert (np.asarray(to_pil(picture)) == np.asarray(rgba)).all()
    la = Image.fromarray(np.dstack([RGB[:, :, 0], alpha]), "LA")
    assert to_pil(read(encoded(la))).mode == "LA"
    assert to_pil(read(Image.fromarray(RGB[:, :, 0] > 99))).mode == "L"


def test_sixteen_bits_are_reduced_with_a_warning():
    deep = np.array([[0, 257, 65_535, 128]], dtype=np.uint16)
    for source in (Image.fromarray(deep), encoded(Image.fromarray(deep)), deep):
        with pytest.warns(UserWarning, match="16 bits"):
            assert read(source).rgb[0, :, 0].tolist() == [0, 1, 255, 0]


def test_first_frame_of_an_animation():
    frames = [Image.fromarray(RGB // (i + 1)) for i in range(3)]
    data = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="first of 3"):
        assert (read(data).rgb == RGB).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_is_applied_and_reset(orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description"
    picture = read(encoded(Image.fromarray(RGB), format, exif=exif))
    assert picture.rgb.shape == ((6, 9, 3) if orientation < 5 else (9, 6, 3))
    after = to_pil(picture).getexif()
    assert after.get(0x0112, 1) == 1
    if format != "TIFF":  # where the description is a tag of the file itself
        assert after[0x010E] == "a description"


def test_orientation_in_xmp_is_reset_too():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read(encoded(Image.fromarray(RGB), "JPEG", exif=exif, xmp=XMP))
    assert picture.rgb.shape == (9, 6, 3)
    assert picture.xmp == XMP.replace(b'"6"', b'"1"')
    only_xmp = read(encoded(Image.fromarray(RGB), "JPEG", xmp=XMP))
    assert only_xmp.rgb.shape == (9, 6, 3)
    assert only_xmp.xmp == picture.xmp


def test_rgb_profiles_travel_others_are_applied():
    assert read(encoded(Image.fromarray(RGB), icc_profile=SRGB)).icc == SRGB
    with pytest.warns(UserWarning, match="ICC profile is damaged"):
        assert read(encoded(Image.fromarray(RGB), icc_profile=b"nonsense" * 40)).icc is None
    cmyk = read(encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"))
    assert cmyk.icc is None
    assert np.abs(cmyk.rgb.astype(int) - RGB).max() <= 1
    # A profile that does not belong to the pixels is dropped.
    assert read(encoded(Image.fromarray(RGB[:, :, 0]), icc_profile=SRGB)).icc is None


def test_a_grey_profile_is_applied():
    linear = _grey_profile_with_gamma_one()
    grey = np.tile(np.arange(0, 256, 5, dtype=np.uint8), (4, 1))
    picture = read(encoded(Image.fromarray(grey), icc_profile=linear))
    assert picture.grey
    assert picture.icc is None
    expected = 255 * np.where(grey / 255 <= 0.0031308, 12.92 * grey / 255, 1.055 * (grey / 255) ** (1 / 2.4) - 0.055)
    assert np.abs(picture.rgb[:, 2:, 1] - expected[:, 2:]).max() <= 1  # 8-bit tables are coarse in the dark


def _grey_profile_with_gamma_one() -> bytes:
    """The smallest ICC profile for grey: white point and an identity curve."""
    d50 = bytes.fromhex("0000f6d6000100000000d32d")
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + d50), (b"kTRC", b"curv\0\0\0\0\0\0\0\0")]
    tags.append((b"desc", b"desc\0\0\0\0\0\0\0\x05grey\0" + bytes(79)))
    tags.append((b"cprt", b"text\0\0\0\0none\0" + bytes(3)))
    table, body = len(tags).to_bytes(4, "big"), b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags:
        table += name + (start + len(body)).to_bytes(4, "big") + len(value).to_bytes(4, "big")
        body += value + bytes(-len(value) % 4)
    head = bytearray(128)
    head[0:4] = (start + len(body)).to_bytes(4, "big")
    head[8:12] = bytes.fromhex("02100000")
    head[12:24] = b"mntrGRAYXYZ "
    head[36:40] = b"acsp"
    head[68:80] = d50
    return bytes(head) + table + body


RICH = Picture(RGB, alpha=RGB[:, :, 0], icc=SRGB, exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=b"<x:xmpmeta/>")


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "jpg", "avif", "bmp", "jp2", "gif"])
def test_writing(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(RICH, path)
    with Image.open(path) as image:
        assert image.size == (9, 6)
        if suffix in ("png", "webp", "tiff"):
            assert (np.asarray(image.convert("RGBA")) == np.dstack([RGB, RICH.alpha])).all()
        if suffix in ("png", "webp", "tiff", "jpg", "avif"):
            assert image.info["icc_profile"] == SRGB
        if suffix in ("png", "webp", "jpg", "avif"):
            assert RICH.exif in bytes(image.info["exif"])
            assert b"xmpmeta" in (image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_metadata_of_png_text_chunks():
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    assert read(encoded(Image.fromarray(RGB), pnginfo=info)).xmp == b"<x:xmpmeta/>"


def test_jpeg_lays_transparency_on_white(tmp_path):
    picture = Picture(np.zeros((8, 8, 3), np.uint8), alpha=np.zeros((8, 8), np.uint8))
    with pytest.warns(UserWarning, match="white"):
        write(picture, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.asarray(image).min() >= 254


def test_formats_that_pillow_does_not_write(tmp_path):
    with pytest.raises(ImageError, match="writes no"):
        write(RICH, tmp_path / "a.xyz")
    assert list(tmp_path.iterdir()) == []


def damaged_candidates():
    """Files with several frames and with EXIF, whose decoders have most ways to stumble."""
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    for name in ("GIF", "TIFF", "WEBP", "PNG"):
        yield encoded(frames[0], name, save_all=True, append_images=frames[1:])
    for name in ("JPEG", "WEBP", "TIFF", "PNG"):
        yield encoded(frames[0], name, exif=exif)


@pytest.mark.parametrize("data", list(damaged_candidates()))
def test_damaged_frames_and_metadata(data):
    rng = np.random.default_rng(0)
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(len(changed)))
            if rng.random() < 0.7:
                changed[at] = int(rng.integers(256))
            else:
                del changed[at : at + int(rng.integers(1, 12))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert read(bytes(changed)).rgb.dtype == np.uint8
            except PromptcodecError:
                pass


def test_exif_of_tiff_files():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8769)[0x9003] = "2026:01:02 03:04:05"
    picture = read(encoded(Image.fromarray(RGB), "TIFF", exif=exif.tobytes()))
    assert picture.rgb.shape[:2] == (RGB.shape[1], RGB.shape[0])
    kept = Image.Exif()
    kept.load(picture.exif)
    assert kept[0x010F] == "a camera"
    assert kept.get_ifd(0x8769)[0x9003] == "2026:01:02 03:04:05"
    assert kept.get(0x0112, 1) == 1
    assert 256 not in kept  # the layout of the TIFF is not the picture's


def test_xmp_never_turns_an_upright_picture():
    for orientation in (b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>"):
        exif = Image.Exif()
        exif[0x0112] = 1
        xmp = b"<x:xmpmeta " + orientation + b"/>" if b"=" in orientation else b"<x:xmpmeta>" + orientation
        assert read(encoded(Image.fromarray(RGB), "JPEG", exif=exif, xmp=xmp)).xmp == xmp.replace(b"6", b"1")


def test_wide_integers():
    assert (read(RGB.astype(np.int64)).rgb == RGB).all()
    with pytest.raises(ImageError, match="to uint16"):
        read(RGB.astype(np.int32) * 257)


def test_a_picture_that_is_read_already_is_returned_as_it_is(photo):
    picture = read(photo)
    assert read(picture) is picture


def test_larger_pictures_than_a_caller_allows_are_refused(photo):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    for source in (photo, Image.fromarray(photo), file.getvalue(), read(photo)):
        with pytest.raises(LimitError, match="33279 in all"):
            read(source, max_pixels=160 * 208 - 1)
        assert read(source, max_pixels=160 * 208).rgb.shape == (160, 208, 3)
