"""Depth, photometric interpretation, transparency and gamma as the file says, on files made by hand."""

import io
import struct
import warnings
import zlib

import imagecodecs
import numpy as np
import pytest
import torch
from by_hand import II, MM, base_tags, packed, plain_tiff, png, tags_of, tiff
from PIL import Image, ImageCms

from promptcodec.errors import ImageError, UsageError
from promptcodec.evaluate.data.datasets import read_picture
from promptcodec.picture.read import read
from promptcodec.steer.region_map import region_map

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def quietly(source):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read(source)


def grey(source):
    picture = quietly(source)
    assert picture.grey
    return picture.rgb[:, :, 0].tolist()


def eight(values, white):
    return np.floor(np.asarray(values, dtype=np.float64) * 255 / white + 0.5).astype(int)


def near(found, wanted, by=0):
    assert np.abs(np.asarray(found).astype(int) - wanted).max() <= by


# TIFF


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


# Netpbm


@pytest.mark.parametrize("maxval", [1, 100, 200, 255, 1000, 1023, 4095, 65_535])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_netpbm_of_any_maximal_value(maxval, channels, plain):
    values = RNG.integers(0, maxval + 1, (3, 4, channels))
    values[0, 0] = maxval
    magic = {(1, False): "P5", (3, False): "P6", (1, True): "P2", (3, True): "P3"}[channels, plain]
    head = f"{magic}\n# a comment\n4 3\n{maxval}\n".encode()
    body = (
        " ".join(map(str, values.ravel())).encode() + b" # the end\n"
        if plain
        else values.astype(">u1" if maxval < 256 else ">u2").tobytes()
    )
    picture = quietly(head + body)
    assert picture.grey == (channels == 1)
    near(picture.rgb, eight(values, maxval) if channels == 3 else eight(values, maxval).repeat(3, axis=2), 0)


def test_a_dark_16_bit_pgm_stays_dark():
    data = b"P5 4 1 65535\n" + struct.pack(">4H", 0, 100, 200, 255)
    with pytest.warns(UserWarning, match="nearly black"):
        assert read(data).rgb[0, :, 0].tolist() == [0, 0, 1, 1]
    with pytest.warns(UserWarning, match="nearly black"):
        assert read(Image.open(io.BytesIO(data))).rgb[0, :, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(b"BLACKANDWHITE", 1), (b"GRAYSCALE", 1), (b"GRAYSCALE_ALPHA", 2), (b"RGB", 3), (b"RGB_ALPHA", 4), (None, 3)],
)
@pytest.mark.parametrize("maxval", [1, 255, 1023, 65_535])
def test_pam(kind, channels, maxval):
    values = RNG.integers(0, maxval + 1, (2, 5, channels))
    head = b"P7\nWIDTH 5\nHEIGHT 2\nDEPTH %d\nMAXVAL %d\n" % (channels, maxval)
    head += b"# comment\n" + (b"TUPLTYPE %s\n" % kind if kind else b"") + b"ENDHDR\n"
    picture = quietly(head + values.astype(">u1" if maxval < 256 else ">u2").tobytes())
    assert picture.grey == (channels < 3)
    near(picture.rgb[:, :, 0], eight(values[:, :, 0], maxval))
    assert (picture.alpha is None) == (channels in (1, 3))
    if picture.alpha is not None:
        near(picture.alpha, eight(values[:, :, -1], maxval))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_pfm_begins_at_the_bottom(order):
    values = RNG.random((3, 4, 3)).astype(np.float32)
    head = b"PF\n4 3\n%s\n" % (b"-1.0" if order == "<" else b"1.0")
    near(quietly(head + values[::-1].astype(f"{order}f4").tobytes()).rgb, eight(values, 1))


@pytest.mark.parametrize(
    ("data", "match"),
    [(b"P5 4 1 1023\n" + bytes(7), "3 samples, expected 4"),
     (b"P5 4 1 1023\n\xff\xff" + bytes(6), "maximal value 1023"),
     (b"P5 4 1 70000\n" + bytes(8), "65535"), (b"P5 4", "ends early"), (b"P2 1 1 255 x", "no number"),
     (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n" + bytes(4), "CMYK"),
     (b"P7\nWIDTH 1\n", "no end"), (b"P5 0 1 255\n", "width"), (b"P2 1 1 255 -3", "-3")],
)  # fmt: skip
def test_damaged_netpbm(data, match):
    with pytest.raises(ImageError, match=match):
        quietly(data)


# PNG


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


def srgb_of(light):
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


GAMMAS = [1.0, 1 / 1.8, 1 / 2.6, 1.5]
RAMP = np.arange(0, 256, 3)[None]


@pytest.mark.parametrize("gamma", GAMMAS)
def test_gamma_without_a_profile(gamma):
    chunk = (b"gAMA", struct.pack(">I", round(gamma * 100_000)))
    wanted = srgb_of((RAMP / 255) ** (1 / gamma))
    near(grey(png(RAMP, 8, 0, chunk)), np.rint(wanted), 1)
    colours = np.stack([RAMP, RAMP[:, ::-1], RAMP // 2], axis=2)
    near(quietly(png(colours, 8, 2, chunk)).rgb, np.rint(srgb_of((colours / 255) ** (1 / gamma))), 1)
    deep = np.array([[0, 40, 400, 4_000, 40_000, 65_535]])
    near(grey(png(deep, 16, 0, chunk)), np.rint(srgb_of((deep / 65_535) ** (1 / gamma))), 1)
    palette = (b"PLTE", np.repeat(RAMP[0][:, None], 3, 1).astype(np.uint8).tobytes())
    indices = np.arange(RAMP.shape[1])[None]
    near(quietly(png(indices, 8, 3, chunk, palette)).rgb[:, :, 1], np.rint(wanted), 1)
    alpha = np.dstack([RAMP, 255 - RAMP])
    assert (quietly(png(alpha, 8, 4, chunk)).alpha == 255 - RAMP).all()


@pytest.mark.parametrize(
    "chunks",
    [[(b"gAMA", struct.pack(">I", 45_455))], [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 100_000))],
     [(b"gAMA", struct.pack(">I", 100_000)), (b"iCCP", b"x\0\0" + zlib.compress(SRGB))],
     [(b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", struct.pack(">I", 100_000))],
     [(b"cHRM", struct.pack(">8I", 31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000))]],
)  # fmt: skip
def test_what_goes_before_gamma(chunks):
    colours = RNG.integers(0, 256, (3, 4, 3))
    picture = quietly(png(colours, 8, 2, *chunks))
    assert (picture.rgb == colours).all()
    assert picture.icc in (None, SRGB)


def through(icc, pixels):
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), profile, ImageCms.createProfile("sRGB")))


P3 = (b"cHRM", struct.pack(">8I", 31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000))


@pytest.mark.parametrize("chunk", [P3, (b"cICP", bytes([12, 13, 0, 1]))])
def test_primaries_become_a_profile(chunk):
    """Display P3's (200, 100, 50) is sRGB's (215, 96, 33), by the matrices of CSS Color 4."""
    picture = quietly(png(np.full((2, 2, 3), [200, 100, 50]), 8, 2, chunk))
    assert picture.rgb[0, 0].tolist() == [200, 100, 50]
    near(through(picture.icc, picture.rgb)[0, 0], p3_in_srgb([200, 100, 50]), 1)
    near(through(picture.icc, np.full((1, 1, 3), 128, np.uint8))[0, 0], [128] * 3, 1)
    assert quietly(png(RAMP, 8, 0, chunk)).icc is None  # grey has no primaries


def p3_in_srgb(levels):
    encoded = np.array(levels) / 255
    light = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    matrix = [[1.2249401763, -0.2249401763, 0], [-0.0420569547, 1.0420569547, 0],
              [-0.0196375546, -0.0786360456, 1.0982736001]]  # fmt: skip
    return np.rint(srgb_of(np.clip(np.array(matrix) @ light, 0, 1)))


@pytest.mark.parametrize(
    "chunk", [(b"gAMA", bytes(4)), (b"cHRM", bytes(32)), (b"cHRM", struct.pack(">8I", *[33_333] * 8))]
)
def test_colours_that_make_no_sense_are_left_out(chunk):
    colours = RNG.integers(0, 256, (3, 4, 3))
    with pytest.warns(UserWarning, match="left out"):
        picture = read(png(colours, 8, 2, chunk))
    assert (picture.rgb == colours).all()
    assert picture.icc is None


@pytest.mark.parametrize(("code", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_announced(code, name):
    with pytest.warns(UserWarning, match=name):
        read(png(np.zeros((2, 2, 3)), 8, 2, (b"cICP", bytes([9, code, 0, 1]))))


# Profiles


def icc_profile(space, gamma):
    """The smallest profile of version 2 with this gamma, for grey or for RGB with sRGB's primaries."""
    xyz = {
        b"rXYZ": (0.43607, 0.22249, 0.01392),
        b"gXYZ": (0.38515, 0.71687, 0.09708),
        b"bXYZ": (0.14307, 0.06061, 0.7141),
    }
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63_190, 65_536, 54_061)
    tags = {b"wtpt": white, b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(80),
            b"cprt": b"text" + bytes(4) + b"none\0\0\0\0"}  # fmt: skip
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        values = {name: struct.pack(">3i", *(round(v * 65_536) for v in value)) for name, value in xyz.items()}
        tags |= {name: b"XYZ " + bytes(4) + value for name, value in values.items()}
        tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    start, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, start + len(body), len(value))
        body += value
    head = bytearray(128)
    head[:4] = struct.pack(">I", start + len(body))
    head[8:24] = bytes.fromhex("02400000") + b"mntr" + space + b"XYZ "
    head[36:40], head[68:80] = b"acsp", white[8:]
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
@pytest.mark.parametrize("container", ["png", "tiff"])
def test_a_grey_picture_with_a_profile_of_gamma_1_8(container, space):
    icc = icc_profile(space, 1.8)
    if container == "png":
        data, deep = (png([[v // s, 64 * 257 // s]], bits, 0, (b"iCCP", b"x\0\0" + zlib.compress(icc)))
                      for v, s, bits in ((128 * 257, 257, 8), (128 * 257, 1, 16)))  # fmt: skip
    else:
        data, deep = plain_tiff([[128, 64]], 8, 1, t34675=icc), plain_tiff([[128 * 257, 64 * 257]], 16, 1, t34675=icc)
    for file in (data, deep):
        picture = quietly(file)
        assert picture.grey
        assert picture.icc is None
        near(picture.rgb[0, :, 0], [145, 82], 1)


def test_deep_greys_are_converted_before_they_are_reduced():
    """In linear light the darkest 8-bit step is sRGB's level 13: 16 bits keep what lies between."""
    values = np.arange(0, 2_570, 10)[None]
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(icc_profile(b"GRAY", 1.0)))
    found = np.array(grey(png(values, 16, 0, chunk)))
    near(found, np.rint(srgb_of(values / 65_535)), 1)
    assert len(np.unique(found)) > 45


def test_srgb_profiles_leave_greys_alone():
    assert (np.array(grey(png(RAMP, 8, 0, (b"iCCP", b"x\0\0" + zlib.compress(SRGB))))) == RAMP).all()


def test_a_profile_of_another_kind_is_announced():
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(icc_profile(b"GRAY", 1.8)))
    with pytest.warns(UserWarning, match="GRAY, not for RGB"):
        assert read(png(np.zeros((2, 2, 3)), 8, 2, chunk)).icc is None


# Others


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_of_more_than_8_bits(channels, bits, reversible, codec):
    white = 2**bits - 1
    values = RNG.integers(0, white + 1, (64, 64, channels)).astype(np.uint16)
    values[:16], values[16:32] = white, 0
    data = imagecodecs.jpeg2k_encode(
        values[:, :, 0] if channels == 1 else values, level=0 if reversible else 80, reversible=reversible,
        bitspersample=bits, codecformat=codec,
    )  # fmt: skip
    for source in (data, Image.open(io.BytesIO(data))):
        with pytest.warns(UserWarning, match=f"^{bits} bits"):
            picture = read(source)
        near(picture.rgb[:, :, 0], eight(values[:, :, 0], white), 1 if reversible else 3)
        near(picture.rgb[:15, :, -1], 255, 1)
        if picture.alpha is not None:
            near(picture.alpha, eight(values[:, :, -1], white), 1 if reversible else 3)


def test_a_profile_in_jpeg_2000_is_kept():
    data = imagecodecs.jpeg2k_encode(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8), level=0, codecformat="jp2")
    at = data.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", data, at)
    box = struct.pack(">I4sBBB", 11 + len(SRGB), b"colr", 2, 0, 0) + SRGB
    changed = data[:at] + box + data[at + length :]
    header = changed.index(b"jp2h") - 4
    (size,) = struct.unpack_from(">I", changed, header)
    changed = changed[:header] + struct.pack(">I", size + len(box) - length) + changed[header + 4 :]
    assert quietly(changed).icc == SRGB


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


def test_several_pictures_in_a_netpbm_file_are_announced():
    one = b"P5 2 1 255\n\x01\x02"
    with pytest.warns(UserWarning, match="first picture of several"):
        assert read(one + one).rgb[0, :, 0].tolist() == [1, 2]


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
