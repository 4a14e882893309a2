"""Netpbm files of every kind and maximal value, made by hand."""

import io
import struct

import numpy as np
import pytest
from PIL import Image
from read_samples import eight, near, quietly

from promptcodec.errors import ImageError
from promptcodec.picture.read import read

RNG = np.random.default_rng(0)


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


def test_several_pictures_in_a_netpbm_file_are_announced():
    one = b"P5 2 1 255\n\x01\x02"
    with pytest.warns(UserWarning, match="first picture of several"):
        assert read(one + one).rgb[0, :, 0].tolist() == [1, 2]
