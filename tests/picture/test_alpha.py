"""Alpha planes come back exactly, and damage is an error."""

import time
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from promptcodec.bitstream.container import pack
from promptcodec.bitstream.contents import Header, Metadata, PtcFile, Tile
from promptcodec.errors import FormatError
from promptcodec.picture.alpha import decode_alpha, encode_alpha


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_round_trip(plane):
    assert (decode_alpha(encode_alpha(plane), *plane.shape) == plane).all()


def test_flat_and_smooth_planes_are_small():
    assert len(encode_alpha(np.full((500, 500), 255, np.uint8))) == 2
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    assert len(encode_alpha(ramp)) < 300


@given(st.binary(max_size=60))
def test_any_bytes(data):
    try:
        assert decode_alpha(data, 5, 7).shape == (5, 7)
    except FormatError:
        pass


def test_wrong_sizes():
    data = encode_alpha(np.arange(35, dtype=np.uint8).reshape(5, 7))
    for shape in ((5, 6), (6, 7), (1, 1), (4000, 4000)):
        with pytest.raises(FormatError):
            decode_alpha(data, *shape)
    with pytest.raises(FormatError):
        decode_alpha(data[:-3], 5, 7)


def dithered(side):
    """A ramp by error diffusion: short matches everywhere, the worst that deflate can be given."""
    return np.asarray(Image.linear_gradient("L").resize((side, side)).convert("1").convert("L"))


def test_the_cost_of_a_dithered_plane_is_bounded():
    plane = dithered(1024)
    begin = time.process_time()
    data = encode_alpha(plane)
    assert time.process_time() - begin < 4  # level 9 of zlib takes ten times as long
    assert (decode_alpha(data, *plane.shape) == plane).all()
    assert len(data) < plane.size / 8
    assert encode_alpha(plane) == data


def test_the_cost_of_metadata_is_bounded():
    xmp = dithered(1024).tobytes()
    begin = time.process_time()
    pack(PtcFile(Header(1, 1, bytes(8), bytes(4), 0), (Tile(0, b"", b""),), Metadata(xmp=xmp)))
    assert time.process_time() - begin < 2


def exhaustive(plane):
    left, above = plane.copy(), plane.copy()
    left[:, 1:] -= plane[:, :-1]
    above[1:] -= plane[:-1]
    return min(len(zlib.compress(values.tobytes(), 9)) for values in (plane, left, above))


@pytest.mark.parametrize("side", [64, 600])
@pytest.mark.parametrize("softness", [1, 30, 200])
def test_usual_planes_are_as_small_as_ever(side, softness):
    y, x = np.mgrid[:side, :side]
    plane = np.clip(255 * (0.35 * side - np.hypot(y - side / 2, x - side / 2)) / softness, 0, 255).astype(np.uint8)
    assert len(encode_alpha(plane)) <= 1.05 * exhaustive(plane) + 8
