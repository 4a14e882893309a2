"""Other codecs at equal bytes."""

import importlib.util

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_photo

from promptcodec.errors import TargetError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.equal_bytes import CLOSE, MOST_ENCODES, QUICK_PEERS, largest_within, peer_file
from promptcodec.quality.measures import measures
from promptcodec.quality.ms_ssim import ms_ssim_of_pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.ssimulacra2 import ssimulacra2

BLANK = np.zeros((64, 64, 3), np.uint8)


class Curve(EvaluatedCodec):
    """Files whose size is a function of the setting, with leaps backwards if ``wobble``."""

    name, options, version, settings = "curve", {}, "1", (1,)

    def __init__(self, extremes, whole, smallest=500.0, span=4.0, bend=0.0, wobble=0.0):
        self.extremes, self.whole_settings, self.calls = extremes, whole, []
        self._shape = smallest, span, bend, wobble

    def check(self, quality):
        pass

    def size(self, setting):
        smallest, span, bend, wobble = self._shape
        low, high = self.extremes if self.whole_settings else np.log(self.extremes)
        x = ((setting if self.whole_settings else np.log(setting)) - low) / (high - low)
        return round(smallest * np.exp(span * (x + bend * x * (1 - x)) + wobble * np.sin(977 * x)))

    def encode(self, rgb, quality):
        low, high = sorted(self.extremes)
        assert low - 1e-9 <= quality <= high + 1e-9
        assert not self.whole_settings or quality == int(quality)
        self.calls.append(quality)
        return bytes(self.size(quality))

    def decode(self, data):
        raise AssertionError


CURVES = {"smallest": st.floats(100, 1e5), "span": st.floats(2, 7), "bend": st.floats(-0.7, 0.7)}


@given(where=st.floats(0, 1), **CURVES)
def test_whole_settings_are_the_best_there_are(where, **shape):
    codec = Curve((1, 100), True, **shape)
    size = int(codec.size(1) ** (1 - where) * codec.size(100) ** where) + 1
    setting, data = largest_within(codec, BLANK, size)
    assert len(data) <= size
    best = max(codec.size(s) for s in range(1, 101) if codec.size(s) <= size)
    assert len(data) == codec.size(setting)
    assert len(data) == best or len(data) >= (1 - CLOSE) * size or len(codec.calls) >= MOST_ENCODES - 1
    assert len(data) >= 0.8 * best
    assert len(codec.calls) <= MOST_ENCODES
    assert len(set(codec.calls)) == len(codec.calls)


@given(where=st.floats(0.01, 1), wobble=st.floats(0, 0.01), **CURVES)
def test_distances_come_close(where, **shape):
    codec = Curve((25, 0.01), False, **shape)
    size = int(codec.size(25) ** (1 - where) * codec.size(0.01) ** where) + 1
    _, data = largest_within(codec, BLANK, size)
    assert 0.93 * size - 1 <= len(data) <= size
    assert len(codec.calls) <= MOST_ENCODES


def test_sizes_beyond_the_range():
    codec = Curve((0, 100), True)
    assert largest_within(codec, BLANK, 10**9)[0] == 100
    with pytest.raises(TargetError, match="smallest file that curve makes of this picture has 500 bytes"):
        largest_within(codec, BLANK, 499)
    assert largest_within(codec, BLANK, 500)[0] == 0


@pytest.mark.parametrize("name", QUICK_PEERS)
def test_real_codecs(name):
    """Never above the size, and close below it: whole qualities of small files are steps of some per cent."""
    if name == "jpegxl":
        pytest.importorskip("imagecodecs")
    picture = make_photo(192, 256)
    codec = open_codec(name)
    low, high = sorted(len(codec.encode(picture, end)) for end in codec.extremes)
    for size in (low + 1, round(0.7 * low + 0.3 * high), high, 10 * high):
        file = peer_file(codec, picture, size) if importlib.util.find_spec("ssimulacra2") else None
        setting, data = largest_within(codec, picture, size)
        assert len(data) <= size
        assert len(data) >= (0.93 * size if low + 1 < size <= high else low)
        assert codec.encode(picture, setting) == data
        if file is not None:
            assert file.data == data
            assert file.measures == measures(picture, codec.decode(data))
    with pytest.raises(TargetError, match=f"smallest file that {name} makes"):
        largest_within(codec, picture, 50)


def test_measures(photo):
    pytest.importorskip("ssimulacra2")
    other = np.clip(photo.astype(int) + np.random.default_rng(0).integers(-9, 10, photo.shape), 0, 255).astype(np.uint8)
    found = measures(photo, other)
    assert found.psnr == psnr(photo, other)
    assert found.ms_ssim is None is ms_ssim_of_pixels(photo, other)  # 160 pixels are too few
    assert found.ssimulacra2 == ssimulacra2(photo, other)
