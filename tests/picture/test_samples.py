"""What the values of arrays and tensors mean: their type says it."""

import warnings

import numpy as np
import pytest
import torch

from promptcodec.errors import ImageError
from promptcodec.picture.read import read

VALUES = [0, 1, 127, 128, 255]
NARROW = [np.int8, np.int16, np.int32, np.int64, np.uint32, np.uint64, np.intc, ">i2", ">u4"]


def levels(source):
    return read(source).rgb[0, :, 0].tolist()


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("dtype", NARROW)
def test_all_integers_but_uint16_count_in_eight_bits(dtype):
    values = np.array([VALUES if np.dtype(dtype).itemsize > 1 else VALUES[:3]])
    assert levels(values.astype(dtype)) == values[0].tolist()


@pytest.mark.parametrize("dtype", NARROW)
def test_integers_outside_of_eight_bits_are_errors(dtype):
    limits = np.iinfo(dtype)
    for value in {limits.min, limits.max} - {0, 127}:
        with pytest.raises(ImageError, match=r"0\.\.255.*convert"):
            read(np.array([[0, value]], dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8])
def test_integer_tensors(dtype):
    assert levels(torch.tensor([[[0, 1, 127]]], dtype=dtype)) == [0, 1, 127]


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_uint16_has_its_white_at_65535(dtype):
    with pytest.warns(UserWarning, match="16 bits"):
        assert levels(np.array([[0, 257, 32_896, 65_535]], dtype=dtype)) == [0, 1, 128, 255]


def test_uint16_that_looks_like_eight_bits_is_dark_and_says_so():
    with pytest.warns(UserWarning, match="nearly black.*255.*65535.*uint8"), pytest.warns(match="16 bits"):
        assert levels(np.array([[0, 100, 255]], dtype=np.uint16)) == [0, 0, 1]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, ">f4"])
def test_floats_have_their_white_at_one(dtype):
    assert levels(np.array([[0, 0.5, 1]], dtype=dtype)) == [0, 128, 255]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_float_tensors(dtype):
    assert levels(torch.tensor([[[0, 0.25, 1]]], dtype=dtype)) == [0, 64, 255]
    with pytest.raises(ImageError, match=r"0\.\.1"):
        read(torch.tensor([[[-1, 0.25, 1]]], dtype=dtype))


def test_bools_are_black_and_white():
    assert levels(np.array([[False, True]])) == [0, 255]
    assert levels(torch.tensor([[[False, True]]])) == [0, 255]


@pytest.mark.parametrize("least", [-1.0, -2.1, -0.3])
def test_a_tensor_from_minus_one_to_one_is_an_error(least):
    with pytest.raises(ImageError, match=r"-1\.\.1.*add 1 and divide by 2|add 1 and divide by 2.*-1\.\.1"):
        read(torch.linspace(least, 1, 48).reshape(3, 4, 4))


@pytest.mark.parametrize(("least", "most"), [(-0.1, 1), (0, 1.2), (-0.05, 1.05)])
def test_what_overshoots_a_little_is_clipped_with_a_warning(least, most):
    with pytest.warns(UserWarning, match="clipped"):
        assert levels(np.array([[least, 0.5, most]])) == [round(255 * max(least, 0)), 128, 255]


def test_rounding_errors_are_clipped_without():
    assert levels(np.array([[-1e-7, 1 + 1e-7]])) == [0, 255]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_an_error(bad, dtype):
    with pytest.raises(ImageError, match="not finite"):
        read(np.array([[0, bad]], dtype=dtype))


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 2), complex), np.zeros((2, 2), object), np.zeros((2, 2), "datetime64[s]"), np.zeros((2, 2), "S1"),
     np.zeros((2, 2), [("r", "u1")])],
)  # fmt: skip
def test_other_types_are_errors(array):
    with pytest.raises(ImageError, match="not supported"):
        read(array)
