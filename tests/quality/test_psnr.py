"""PSNR over RGB, over YCbCr and within a mask, on errors that are known."""

import math

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import ImageError
from promptcodec.quality.decibel import CEILING
from promptcodec.quality.psnr import psnr, psnr_yuv, weighted_psnr
from promptcodec.quality.ycbcr import double, halve, to_rgb, to_ycbcr


def test_psnr_of_a_known_error(photo):
    worse = photo.copy()
    worse[..., 0] ^= 1  # one level in every sample of one channel of three
    assert psnr(photo, worse) == pytest.approx(20 * math.log10(255) + 10 * math.log10(3))
    assert psnr(photo, photo) == CEILING
    with pytest.raises(ImageError):
        psnr(photo, photo[1:])


def test_ycbcr(photo):
    assert (to_rgb(to_ycbcr(photo)) == photo).all()
    theirs = np.asarray(Image.fromarray(photo).convert("YCbCr")).transpose(2, 0, 1)
    assert np.abs(to_ycbcr(photo) - theirs).max() < 1.01
    plane = to_ycbcr(photo)[0]
    assert halve(double(plane)) == pytest.approx(plane, abs=20)
    flat = np.full((6, 4), 7, np.float32)
    assert (double(flat) == 7).all()
    assert (halve(flat) == 7).all()


def test_psnr_yuv_of_a_known_error(photo):
    photo = photo // 2 + 40
    brighter = photo + 4  # Y alone changes
    assert psnr_yuv(photo, brighter) == pytest.approx((6 * 20 * math.log10(255 / 4) + 2 * CEILING) / 8, abs=0.01)


def test_weighted_psnr(photo):
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:, :100] = 255
    worse = photo.copy()
    worse[:, :100] ^= 1
    assert weighted_psnr(photo, worse, mask) == pytest.approx(psnr(photo[:, :100], worse[:, :100]))
    assert weighted_psnr(photo, worse, mask, (0, 1)) == CEILING
    full = np.full_like(mask, 255)
    assert weighted_psnr(photo, worse, full) == pytest.approx(psnr(photo, worse))
    assert weighted_psnr(photo, worse, full, (0, 1)) is None
    # Pixels count, not regions: 100 columns of weight 0.8 and the others of 0.2.
    errors = [10 ** (-psnr(a, b) / 10) for a, b in ((photo[:, :100], worse[:, :100]), (photo[:, 100:], worse[:, 100:]))]
    inside, outside = 0.8 * 100, 0.2 * (photo.shape[1] - 100)
    expected = (inside * errors[0] + outside * errors[1]) / (inside + outside)
    assert weighted_psnr(photo, worse, mask, (0.8, 0.2)) == pytest.approx(-10 * np.log10(expected), abs=1e-3)
    with pytest.raises(ImageError, match="mask"):
        weighted_psnr(photo, worse, mask[1:])
