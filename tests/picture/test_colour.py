"""Gamma, primaries and profiles as the file says, on files made by hand."""

import io
import struct
import zlib

import numpy as np
import pytest
from by_hand import plain_tiff, png
from PIL import Image, ImageCms
from read_samples import grey, near, quietly

from promptcodec.picture.read import read

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


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
