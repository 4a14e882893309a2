"""Bit allocations as pictures."""

import numpy as np
import pytest

from promptcodec.evaluate.bit_overlay import bit_overlay


def test_few_bits_are_transparent_and_many_are_light():
    bits = np.full((4, 7), 1.0)
    bits[:, 6] /= 4  # blocks of 16 x 4 pixels
    bits[1, 2], bits[3, 6], bits[0, 0] = 800, 200, 20
    overlay = bit_overlay(bits, 64, 100)
    assert overlay.rgba.shape == (64, 100, 4)
    assert overlay.rgba.dtype == np.uint8
    assert overlay.image().mode == "RGBA"
    opacity = overlay.rgba[:, :, 3]
    assert (opacity[20, 50], opacity[0, 99]) == (0, opacity[60, 90])
    assert opacity[16:32, 32:48].min() == opacity.max() == opacity[48:64, 96:100].min()
    assert 0 < opacity[0, 0] < opacity.max()
    light = overlay.rgba[:, :, :3].astype(int).sum(axis=2)
    assert light[20, 40] > light[0, 0] > light[20, 50]
    assert overlay.low == pytest.approx(1 / 256)
    assert overlay.high == pytest.approx(800 / 256)


def test_one_expensive_block_hides_no_others():
    bits = np.full((20, 20), 10.0)
    bits[10:] = 100
    bits[0, 0] = 10**5
    overlay = bit_overlay(bits, 320, 320)
    assert (overlay.low, overlay.high) == (10 / 256, 100 / 256)
    assert (overlay.rgba[0, 0] == overlay.rgba[200, 200]).all()


def test_one_scale_for_several_files():
    few, many = (bit_overlay(np.full((2, 2), bits), 32, 32, (0.01, 4.0)) for bits in (4.0, 900.0))
    assert few.rgba[0, 0, 3] < many.rgba[0, 0, 3]
    assert (few.low, few.high) == (many.low, many.high) == (0.01, 4.0)


def test_all_alike():
    assert (bit_overlay(np.full((2, 3), 7.0), 32, 48).rgba == bit_overlay(np.zeros((2, 3)), 32, 48).rgba).all()
