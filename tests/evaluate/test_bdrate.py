"""Bjøntegaard's differences: curves whose answer is known, and a published implementation on any curve."""

import math

import bjontegaard
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptcodec.evaluate.bdrate import bd_quality, bd_rate, quality_at

METHODS = ("pchip", "cubic")
ANCHOR = [(0.1, 28.0), (0.25, 31.0), (0.5, 34.0), (1.0, 37.0), (2.0, 41.0)]


@st.composite
def curves(draw):
    """Four to nine points whose rate and quality both grow: PSNR, accuracy in per cent, or LPIPS turned around."""
    steps = draw(st.lists(st.tuples(st.floats(0.2, 0.9), st.floats(0.3, 1)), min_size=4, max_size=9))
    scale, start = draw(st.sampled_from([(4.0, 24.0), (20.0, 40.0), (0.05, -0.4)]))
    scale, start = (4.0, 24.0) if draw(st.booleans()) else (scale, start)
    log_rate, quality = math.log(draw(st.floats(0.05, 0.2))), start + scale * draw(st.floats(0, 0.5))
    points = []
    for more_rate, more_quality in steps:
        points.append((math.exp(log_rate), quality))
        log_rate, quality = log_rate + more_rate, quality + scale * more_quality
    return points


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS)
@given(curves(), curves())
def test_against_the_bjontegaard_package(method, codec, anchor):
    def theirs(function):
        columns = (list(column) for curve in (anchor, codec) for column in zip(*curve, strict=True))
        return function(*columns, method=method, require_matching_points=False, min_overlap=0)

    rate, quality = bd_rate(codec, anchor, method), bd_quality(codec, anchor, method)
    # To 0.01 % of the rate itself, which BD-rate changes by a factor.
    if rate.percent is not None and rate.overlap > 0.05 and abs(rate.percent) < 1e4:
        assert 1 + rate.percent / 100 == pytest.approx(1 + theirs(bjontegaard.bd_rate) / 100, rel=1e-4)
    if quality.quality is not None and quality.overlap > 0.05:
        assert quality.quality == pytest.approx(theirs(bjontegaard.bd_psnr), rel=1e-4, abs=1e-6)


@given(curves(), curves())
def test_turning_the_comparison_round(codec, anchor):
    forth, back = bd_rate(codec, anchor), bd_rate(anchor, codec)
    assert forth.quality_range == back.quality_range
    assert forth.overlap == back.overlap
    if forth.percent is not None:
        assert (1 + forth.percent / 100) * (1 + back.percent / 100) == pytest.approx(1)
        assert bd_quality(anchor, anchor).quality == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.25])
def test_scaled_and_raised_curves(method, factor):
    result = bd_rate([(factor * rate, quality) for rate, quality in ANCHOR], ANCHOR, method)
    assert result.percent == pytest.approx(100 * (factor - 1))
    assert not result.warnings
    raised = bd_quality([(rate, quality + factor) for rate, quality in ANCHOR], ANCHOR, method)
    assert raised.quality == pytest.approx(factor)
    assert raised.rate_range == pytest.approx((0.1, 2))


def test_it_says_what_is_wrong():
    assert bd_rate(ANCHOR[:1], ANCHOR).percent is None
    assert "cubic needs 4" in bd_rate(ANCHOR[:3], ANCHOR, "cubic").warnings[0]
    assert "only 3 usable points" in bd_quality(ANCHOR[:3], ANCHOR).warnings[0]
    assert bd_rate([(0.1, 10), (0.2, 11), (0.3, 12), (0.4, 13)], ANCHOR).percent is None
    assert "no better" in bd_rate([*ANCHOR, (3.0, 20.0)], ANCHOR).warnings[0]
    assert "share only" in bd_rate([(r, q + 10) for r, q in ANCHOR], ANCHOR).warnings[0]
    far = bd_quality([(r + 1.5, q) for r, q in ANCHOR], ANCHOR)
    assert far.overlap < 0.5
    assert "bits per pixel" in far.warnings[0]


def test_quality_at_a_rate():
    assert quality_at(ANCHOR, 0.25) == pytest.approx(31)
    assert 31 < quality_at(ANCHOR, 0.3) < 34
    assert quality_at(ANCHOR, 3.0) is None
