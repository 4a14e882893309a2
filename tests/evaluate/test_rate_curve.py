"""Rate-quality curves of one picture."""

import numpy as np
import pytest

from promptcodec.errors import UsageError
from promptcodec.evaluate.rate_curve import QUALITIES, rate_curve
from promptcodec.quality.psnr import psnr


def test_points_are_those_of_files(codec, photo):
    points = list(rate_curve(codec.analysed(photo), (20, 80), look=0.5))
    for quality, point in zip((20, 80), points, strict=True):
        data = codec.encode(photo, quality, look=0.5)
        assert (point.quality, point.bytes) == (quality, len(data))
        assert point.bpp == pytest.approx(8 * len(data) / photo[:, :, 0].size)
        assert point.psnr == psnr(photo, codec.decode_picture(data).rgb)


def test_more_bytes_are_more_quality(codec, photo):
    points = list(rate_curve(codec.analysed(photo)))
    assert [point.quality for point in points] == list(QUALITIES)
    for values in ([point.bytes for point in points], [point.psnr for point in points]):
        assert (np.diff(values) > 0).all()


def test_points_come_one_by_one(codec, photo):
    points = rate_curve(codec.analysed(photo), (20, 300))
    assert next(points).quality == 20
    with pytest.raises(UsageError, match="outside"):
        next(points)
