"""Samples of more and of less than 8 bits, and transparency, as the file says; masks and region maps are read alike."""

import io
import struct
import warnings

import imagecodecs
import numpy as np
import pytest
import torch
from by_hand import plain_tiff, png
from PIL import Image
from read_samples import eight, near, quietly

from promptcodec.errors import ImageError, UsageError
from promptcodec.evaluate.data.datasets import read_picture
from promptcodec.picture.read import read
from promptcodec.steer.controls import region_map

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_transparent_grey_of_any_depth(bits):
    white = 2**bits - 1
    key = white // 3 if bits > 1 else 1
    values = np.array([[0, key, white, key ^ 1]])
    picture = quietly(png(values, bits, 0, (b"tRNS", struct.pack(">H", key))))
    assert picture.grey
    near(picture.rgb[:, :, 0], eight(values, white))
    assert picture.alpha.tolist() == np.where(values == key, 0, 255).tolist()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_only_the_lower_bits_of_a_transparent_sample_count(bits):
    data = png([[1, 2, 0]], bits, 0, (b"tRNS", struct.pack(">H", 0x4000 | 2)))
    assert quietly(data).alpha.tolist() == [[255, 0, 255]]


def test_transparent_colour_of_8_and_16_bits():
    eights = np.array([[[1, 2, 3], [1, 2, 4], [9, 9, 9]]])
    assert quietly(png(eights, 8, 2, (b"tRNS", struct.pack(">3H", 1, 2, 3)))).alpha.tolist() == [[0, 255, 255]]
    deep = np.array([[[0x1234, 0x5678, 0x9ABC], [0x1234, 0x5678, 0x9ABD], [0x1234, 0x5678, 0x1ABC], [65_535, 0, 255]]])
    data = png(deep, 16, 2, (b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC)))
    for source in (data, io.BytesIO(data), Image.open(io.BytesIO(data))):
        picture = quietly(source)
        assert picture.alpha.tolist() == [[0, 255, 255, 255]]
        near(picture.rgb, eight(deep, 65_535))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("animated", [False, True])
def test_16_bits_of_several_channels(colour, channels, animated):
    values = RNG.integers(0, 2**16, (6, 5, channels))
    chunks = ()
    if animated:
        frame = struct.pack(">IIIIIHHBB", 0, 5, 6, 0, 0, 1, 10, 0, 0)
        chunks = ((b"acTL", struct.pack(">II", 1, 0)), (b"fcTL", frame))
    with pytest.warns(UserWarning, match="16 bits"):
        picture = read(png(values, 16, colour, *chunks))
    assert picture.grey == (colour == 4)
    near(picture.rgb[:, :, 0], eight(values[:, :, 0], 65_535))
    assert (picture.alpha is None) == (colour == 2)
    if picture.alpha is not None:
        near(picture.alpha, eight(values[:, :, -1], 65_535))


def test_an_image_stays_as_it_was():
    data = png(RNG.integers(0, 2**16, (3, 4, 2)), 16, 4)
    image = Image.open(io.BytesIO(data))
    before = np.asarray(Image.open(io.BytesIO(data)))
    quietly(image)
    assert image.mode == "RGBA"
    assert (np.asarray(image) == before).all()
    deep = Image.open(io.BytesIO(png([[0, 40_000]], 16, 0)))
    quietly(deep)
    assert deep.mode == "I;16"


def test_palettes_with_partial_alpha():
    data = png([[0, 1, 2, 3]], 2, 3, (b"PLTE", bytes(range(12))), (b"tRNS", bytes([0, 128, 200])))
    picture = quietly(data)
    assert picture.alpha.tolist() == [[0, 128, 200, 255]]
    assert picture.rgb[0, 2].tolist() == [6, 7, 8]


@pytest.mark.parametrize(("bits", "shown"), [(8, None), (10, "10 bits"), (12, "12 bits")])
def test_avif_of_more_than_8_bits_is_announced(bits, shown):
    values = RNG.integers(0, 2**bits, (16, 16, 3)).astype(np.uint16 if bits > 8 else np.uint8)
    values[:8] = 2**bits - 1
    data = imagecodecs.avif_encode(values, level=100, bitspersample=bits)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = read(data)
    assert any(shown in str(warning.message) for warning in caught) if shown else not caught
    near(picture.rgb[:7], 255, 2)


def sgi(values, bits):
    height, width, channels = values.shape
    head = struct.pack(
        ">HBBHHHHII", 474, 0, bits // 8, 2 if channels == 1 else 3, width, height, channels, 0, 2**bits - 1
    )
    return head.ljust(512, b"\0") + values[::-1].transpose(2, 0, 1).astype(f">u{bits // 8}").tobytes()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sgi_of_16_bits(channels):
    values = RNG.integers(0, 2**16, (3, 4, channels))
    with pytest.warns(UserWarning, match="16 bits"):
        picture = read(sgi(values, 16))
    near(picture.rgb[:, :, 0], eight(values[:, :, 0], 65_535), 1)


def test_pixels_of_16_bits_are_no_deep_samples():
    """A BMP file with 5, 5 and 5 bits a pixel."""
    head = struct.pack("<2sIHHI", b"BM", 54 + 4, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 2, 1, 1, 16, 0, 4, 0, 0, 0, 0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(head + struct.pack("<2H", 0x7FFF, 0)).rgb[0, :, 0].tolist() == [255, 0]


def test_fits_files_are_refused_where_white_is_not_defined():
    fields = {"SIMPLE": "T", "BITPIX": "16", "NAXIS": "2", "NAXIS1": "2", "NAXIS2": "1"}
    header = [f"{name:8}= {value:>20}".ljust(80).encode() for name, value in fields.items()] + [b"END".ljust(80)]
    data = b"".join(header).ljust(2880) + struct.pack(">2h", 0, 1000).ljust(2880, b"\0")
    with pytest.raises(ImageError, match="FITS"):
        read(data)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_deep_images_in_memory_have_their_white_at_65535(mode):
    values = np.array([[0, 257, 32_896, 65_535]])
    array = values.astype({"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode])
    with pytest.warns(UserWarning, match="16 bits"):
        assert read(Image.frombytes(mode, (4, 1), array.tobytes())).rgb[0, :, 0].tolist() == [0, 1, 128, 255]
    if mode == "I":
        for bad in (-1, 65_536):
            with pytest.raises(ImageError, match="mode I"):
                read(Image.fromarray(np.array([[0, bad]], np.int32)))


def test_floating_point_images():
    with pytest.warns(UserWarning, match="floating-point"):
        assert read(Image.fromarray(np.array([[0, 0.5, 1]], np.float32))).rgb[0, :, 0].tolist() == [0, 128, 255]
    for bad in ([[0, 255]], [[-1, 1]]):
        with pytest.raises(ImageError, match=r"0\.\.1"):
            quietly(Image.fromarray(np.array(bad, np.float32)))


def test_heif_of_10_bits_is_announced():
    pillow_heif = pytest.importorskip("pillow_heif")
    values = np.zeros((64, 64, 3), np.uint16)
    values[:32] = 65_535
    file = io.BytesIO()
    pillow_heif.from_bytes(mode="RGB;16", size=(64, 64), data=values.tobytes()).save(file, quality=90)
    pillow_heif.register_heif_opener()
    try:
        with pytest.warns(UserWarning, match="10 bits"):
            near(read(file.getvalue()).rgb[:24], 255, 2)
    finally:
        Image.OPEN.pop("HEIF")
        Image.ID.remove("HEIF")


@pytest.mark.parametrize(
    "mask", [plain_tiff([[0, 2048], [4095, 1024]], 12, 1), png([[0, 32_768], [65_535, 16_384]], 16, 0),
             b"P5 2 2 1000\n" + struct.pack(">4H", 0, 500, 1000, 250), png([[0, 128], [255, 64]], 8, 0)]
)  # fmt: skip
def test_masks_and_region_maps_are_read_alike(mask, tmp_path):
    path = tmp_path / "mask.png"
    path.write_bytes(mask)
    wanted = np.array([[0, 128], [255, 64]])
    near(np.rint(255 * region_map(path, 2, 2)[0, 0].numpy()), wanted, 1)
    near(read_picture(path).mask(), wanted, 1)


@pytest.mark.parametrize("values", [[-1, 1], [0, 255], [0, float("nan")]])
def test_region_maps_outside_of_0_to_1_are_errors(values):
    with pytest.raises(UsageError, match="0 to 1"):
        region_map(torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, 2), 1, 2)
