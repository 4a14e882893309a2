"""Samples of TIFF files made by hand: depth, photometric interpretation, alpha, compression, floating point."""

import io
import warnings
import zlib

import numpy as np
import pytest
from by_hand import II, MM, base_tags, packed, plain_tiff, tags_of, tiff
from PIL import Image
from read_samples import eight, grey, near, quietly

from promptcodec.errors import ImageError
from promptcodec.picture.read import read

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("order", "big"), [(II, False), (MM, False), (II, True)])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [2, 4, 8, 9, 10, 12, 14, 16, 24, 32])
def test_grey_tiff_of_any_depth(bits, photometric, big, order):
    white = 2**bits - 1
    values = np.array([[0, white // 3, white // 2, white], [white, white // 5, 1, 0]], dtype=np.uint64)
    wanted = eight(values, white)
    wanted = 255 - wanted if photometric == 0 else wanted
    near(grey(plain_tiff(values, bits, photometric, order, big)), wanted, 0 if bits in (2, 4, 8) else 1)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_black_and_white_of_deep_grey_tiff_are_exact(bits):
    with pytest.warns(UserWarning, match=f"{bits} bits a sample"):
        assert read(plain_tiff([[0, 2**bits - 1]], bits, 1)).rgb[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("order", [II, MM])
@pytest.mark.parametrize("bits", [8, 10, 12, 16, 32])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("extra", [None, 0, 2])
def test_rgb_tiff_of_any_depth(bits, planar, extra, order):
    channels = 3 if extra is None else 4
    values = RNG.integers(0, 2**bits, (5, 7, channels), dtype=np.uint64)
    tags = base_tags(7, 5, channels, bits, 2) | ({} if extra is None else {338: extra}) | {284: planar}
    if planar == 1:
        parts = [b"".join(packed(values.reshape(5, -1), bits, order))]
    else:
        parts = [b"".join(packed(values[:, :, channel], bits, order)) for channel in range(channels)]
    picture = quietly(tiff(parts, tags, order))
    near(picture.rgb, eight(values[:, :, :3], 2**bits - 1), 0 if bits == 8 else 1)
    assert (picture.alpha is None) == (extra != 2)
    if picture.alpha is not None:
        near(picture.alpha, eight(values[:, :, 3], 2**bits - 1), 1)


@pytest.mark.parametrize("order", [II, MM])
def test_grey_and_alpha_tiff_of_16_bits(order):
    values = RNG.integers(0, 2**16, (3, 4, 2))
    picture = quietly(plain_tiff(values, 16, 1, order, t338=2))
    assert picture.grey
    near(picture.rgb[:, :, 0], eight(values[:, :, 0], 65_535))
    near(picture.alpha, eight(values[:, :, 1], 65_535))


def lzw(data):
    """TIFF's LZW in codes of 9 bits alone: the table is cleared before it needs more."""
    codes = []
    for begin in range(0, len(data), 200):
        codes += [256, *data[begin : begin + 200]]
    return packed([[*codes, 257]], 9)[0]


@pytest.mark.parametrize("order", [II, MM])
@pytest.mark.parametrize("compression", [1, 5, 8, 32_773, 32_946])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize(("bits", "photometric"), [(10, 1), (16, 0), (32, 1)])
def test_compressed_strips(bits, photometric, predictor, compression, order):
    if predictor == 2 and (bits == 10 or compression in (1, 32_773)):
        pytest.skip("no predictor is defined for packed samples and these coders")
    values = RNG.integers(0, 2**bits, (9, 11), dtype=np.uint64)
    stored = values.copy()
    if predictor == 2:
        stored[:, 1:] = (values[:, 1:] - values[:, :-1]) % np.uint64(2**bits)
    strips = [b"".join(packed(stored[top : top + 4], bits, order)) for top in range(0, 9, 4)]
    coder = {1: bytes, 5: lzw, 32_773: lambda data: b"".join(b"\0" + data[i : i + 1] for i in range(len(data)))}
    parts = [coder.get(compression, zlib.compress)(strip) for strip in strips]
    tags = base_tags(11, 9, 1, bits, photometric) | {259: compression, 278: 4, 317: predictor}
    wanted = eight(values, 2**bits - 1)
    near(grey(tiff(parts, tags, order)), 255 - wanted if photometric == 0 else wanted, 1)


def test_tiles_of_10_bits():
    values = RNG.integers(0, 1024, (20, 40), dtype=np.uint64)
    padded = np.zeros((32, 48), np.uint64)
    padded[:20, :40] = values
    parts = [b"".join(packed(padded[top : top + 16, left : left + 16], 10)) for top in (0, 16) for left in (0, 16, 32)]
    tags = {key: value for key, value in base_tags(40, 20, 1, 10, 1).items() if key != 278} | {322: 16, 323: 16}
    near(grey(tiff(parts, tags)), eight(values, 1023))


@pytest.mark.parametrize("order", [II, MM])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_samples_are_refused_with_a_sentence(bits, order):
    with pytest.raises(ImageError, match="signed"):
        read(plain_tiff([[0, 100, 127]], bits, 1, order, t339=2))
    with pytest.raises(ImageError, match="signed"):
        read(Image.open(io.BytesIO(plain_tiff([[0, 100, 127]], 16, 1, II, t339=2))))


def float_tiff(values, bits, photometric=1, order=II, **more):
    values = np.atleast_3d(np.asarray(values, dtype=f"{order}f{bits // 8}"))
    height, width, channels = values.shape
    tags = base_tags(width, height, channels, bits, photometric) | {339: (3,) * channels} | tags_of(more)
    return tiff([values.tobytes()], tags, order)


@pytest.mark.parametrize("order", [II, MM])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_floating_point_tiff(bits, order):
    values = [[0, 0.25, 0.5, 1]]
    with pytest.warns(UserWarning, match="floating-point"):
        assert read(float_tiff(values, bits, 1, order)).rgb[0, :, 0].tolist() == [0, 64, 128, 255]
    near(grey(float_tiff(values, bits, 0, order)), [[255, 191, 127, 0]], 1)
    colours = RNG.random((3, 5, 3))
    near(quietly(float_tiff(colours, bits, 2, order)).rgb, eight(colours, 1), 1)
    for bad in ([[0, 255.0]], [[-1, 1]], [[0, np.nan]]):
        with pytest.raises(ImageError, match=r"floating-point values|not finite"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(float_tiff(bad, bits, 1, order))


def test_floating_point_predictor():
    values = RNG.random((4, 6)).astype(np.float32)
    grouped = values.astype(">f4").view(np.uint8).reshape(4, 6, 4).transpose(0, 2, 1).reshape(4, 24).copy()
    stored = grouped.copy()
    stored[:, 1:] -= grouped[:, :-1]
    tags = base_tags(6, 4, 1, 32, 1) | {339: 3, 317: 3, 259: 8}
    # In 16 bits, which is ours to read; in 32 it is Pillow's.
    near(grey(tiff([zlib.compress(stored.tobytes())], tags)), eight(values, 1))
    half = values.astype(np.float16)
    grouped = half.astype(">f2").view(np.uint8).reshape(4, 6, 2).transpose(0, 2, 1).reshape(4, 12).copy()
    stored = grouped.copy()
    stored[:, 1:] -= grouped[:, :-1]
    tags |= {258: 16}
    near(grey(tiff([zlib.compress(stored.tobytes())], tags)), eight(half, 1))


def test_what_a_rewritten_tiff_says_of_the_picture_stays():
    values = np.zeros((2, 3, 1), np.uint64)
    values[0, 0] = 1023
    picture = quietly(plain_tiff(values, 10, 1, MM, t274=6, t315=b"A. N. Onymous\0", t700=b"<x:xmpmeta/>"))
    assert picture.rgb[:, :, 0].tolist() == [[0, 255], [0, 0], [0, 0]]
    assert picture.xmp == b"<x:xmpmeta/>"
    assert b"Onymous" in picture.exif


@pytest.mark.parametrize(
    ("file", "match"),
    [(plain_tiff(np.zeros((2, 2, 3)), 16, 8), "CIELab"), (plain_tiff(np.zeros((2, 2)), 16, 32_803), "colour filter"),
     (float_tiff(np.zeros((2, 2)), 32, t258=24), "24-bit"),
     (plain_tiff(np.zeros((2, 2)), 10, 1, t259=7), "compression 7"), (plain_tiff([[0, 1]], 8, 1, MM, True), "BigTIFF"),
     (plain_tiff(np.zeros((2, 2)), 10, 1, t257=200), "damaged"), (plain_tiff(np.zeros((2, 2)), 10, 1)[:60], "damaged"),
     (plain_tiff(np.zeros((2, 2, 3)), 10, 2, t258=(10, 10, 12)), "10 and 12 bits")],
)  # fmt: skip
def test_other_tiffs_are_refused_with_a_sentence(file, match):
    with pytest.raises(ImageError, match=match):
        quietly(file)


def test_damaged_deep_tiffs():
    values = RNG.integers(0, 1024, (6, 5, 3), dtype=np.uint64)
    data = plain_tiff(values, 10, 2)
    for _ in range(200):
        damaged = bytearray(data if RNG.random() < 0.7 else data[: RNG.integers(8, len(data))])
        for _ in range(3):
            damaged[RNG.integers(len(damaged))] = RNG.integers(256)
        try:
            quietly(bytes(damaged))
        except Exception as error:
            assert type(error).__module__ == "promptcodec.errors", repr(error)


def test_lab():
    """CIELAB (50, 60, -56) at D50 is sRGB's (178, 70, 217) but for rounding."""
    values = np.array([[[255, 0, 0], [0, 0, 0], [128, 60, 200]]])
    picture = quietly(plain_tiff(values, 8, 8))
    near(picture.rgb[0], [[255, 255, 255], [0, 0, 0], [178, 70, 217]], 3)


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_tiff(bits):
    white = 2**bits - 1
    values = np.array([[[0, 0, 0, 0], [0, 0, 0, white], [0, white, white, 0]]])
    picture = quietly(plain_tiff(values, bits, 5))
    assert picture.rgb[0].tolist() == [[255, 255, 255], [0, 0, 0], [255, 0, 0]]
