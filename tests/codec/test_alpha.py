"""Alpha planes come back exactly, and damage is an error."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

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
