"""Target search: on curves of all shapes, on a picture, and what it says where there is nothing to find."""

import importlib.util
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_photo

import promptcodec
from promptcodec.codec.latents import LatentCoder
from promptcodec.codec.search import MOST_ENCODES, Goal, one_target, search
from promptcodec.errors import TargetError, UsageError
from promptcodec.model.inference.backend import TorchBackend
from promptcodec.quality.ms_ssim import ms_ssim_of_pixels
from promptcodec.quality.psnr import psnr
from promptcodec.quality.ssimulacra2 import ssimulacra2

LAST = 65_535


def size_goal(size):
    return Goal(math.log(0.99 * size), math.log(size), True, 3.2, lambda s: f"{math.exp(s):.0f}")


@given(
    smallest=st.floats(2e3, 1e6), span=st.floats(1.5, 5.0), bend=st.floats(-0.6, 0.6), where=st.floats(0.0, 1.0),
    wobble=st.floats(0, 1e-3),
)  # fmt: skip
def test_sizes_are_met_on_curves_of_all_shapes(smallest, span, bend, where, wobble):
    def size(step):
        x = step / LAST
        return round(smallest * math.exp(span * (x + bend * x * (1 - x)) + wobble * math.sin(1000 * x)))

    calls = []

    def encode(step):
        calls.append(step)
        return size(step)

    wanted = size(0) ** (1 - where) * size(LAST) ** where * 1.002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = search(encode, size_goal(wanted), math.log, LAST)
    assert 0.99 * wanted <= found <= wanted
    assert len(calls) <= MOST_ENCODES
    assert len(set(calls)) == len(calls)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0, 1), st.booleans())
def test_nothing_forbidden_is_handed_out(leaps, where, limits_size):
    """Staircases that no tolerance fits: the closest safe trial and a warning, or the range."""
    values = np.cumsum(leaps) + 5
    wanted = 5 + where * (values[-1] - 5 + 0.5)
    goal = Goal(wanted - 0.01, wanted, True, 3.0, str) if limits_size else Goal(wanted, wanted + 0.01, False, 3.0, str)
    calls = []

    def encode(step):
        calls.append(step)
        return float(values[step * len(values) // (LAST + 1)])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = search(encode, goal, float, LAST)
        except TargetError:
            assert values[0] > goal.high or values[-1] < goal.low
        else:
            assert goal.safe(found)
    assert len(calls) <= MOST_ENCODES


@pytest.fixture
def counted(monkeypatch):
    """Counts (analyses, encodes)."""
    counts = {"analyse": 0, "quantise": 0}
    for owner, name in ((TorchBackend, "analyse"), (LatentCoder, "quantise")):
        original = getattr(owner, name)

        def wrapped(*arguments, _original=original, _name=name):
            counts[_name] += 1
            return _original(*arguments)

        monkeypatch.setattr(owner, name, wrapped)
    return counts


@pytest.fixture(scope="module")
def picture():
    return make_photo(256, 320, 3)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_size_and_rate(picture, counted, part):
    ends = [len(promptcodec.encode(picture, q)) for q in (0, 100)]
    size = round(ends[0] ** (1 - part) * ends[1] ** part)
    counted.update(analyse=0, quantise=0)
    data = promptcodec.encode(picture, target_size=size)
    assert 0.99 * size <= len(data) <= size
    assert counted["analyse"] == 1
    assert counted["quantise"] <= MOST_ENCODES
    assert promptcodec.encode(picture, target_bpp=8 * size / picture[:, :, 0].size) == data


def test_quality(picture, counted):
    middle = np.asarray(promptcodec.decode(promptcodec.encode(picture, 60)))
    targets = [("target_psnr", psnr, 0.1), ("target_ms_ssim", ms_ssim_of_pixels, 0.002)]
    if importlib.util.find_spec("ssimulacra2"):
        targets.append(("target_ssimulacra2", ssimulacra2, 0.5))
    for name, metric, slack in targets:
        counted.update(analyse=0, quantise=0)
        wanted = metric(picture, middle)
        reached = metric(picture, np.asarray(promptcodec.decode(promptcodec.encode(picture, **{name: wanted}))))
        assert wanted <= reached <= wanted + slack
        assert counted["analyse"] == 1
        assert counted["quantise"] <= MOST_ENCODES


def test_grey_pictures_and_metadata_count(picture):
    from PIL import Image

    grey = Image.fromarray(picture[:, :, 0])
    size = len(promptcodec.encode(grey, 30)) + 900
    grey.info["exif"] = b"Exif\0\0" + bytes(800)
    data = promptcodec.encode(grey, target_size=size)
    assert 0.99 * size <= len(data) <= size


def test_out_of_range(picture, counted):
    ends = [len(promptcodec.encode(picture, q)) for q in (0, 100)]
    for wanted in ({"target_size": 50}, {"target_size": 10**7}, {"target_bpp": 20}, {"target_psnr": 70}):
        counted.update(quantise=0)
        with pytest.raises(TargetError, match="out of range") as error:
            promptcodec.encode(picture, **wanted)
        assert counted["quantise"] <= MOST_ENCODES
        if "target_size" in wanted:
            assert f"{ends[0]:,} bytes to {ends[1]:,} bytes" in str(error.value)


def test_what_makes_no_sense(photo, tic):
    with pytest.raises(UsageError, match="one target"):
        one_target(size=3, psnr=4)
    for bad in (
        {"target_size": 0},
        {"target_bpp": -1},
        {"target_ms_ssim": 1.2},
        {"target_ssimulacra2": 100},
        {"target_psnr": float("nan")},
    ):
        with pytest.raises(UsageError, match="target"):
            promptcodec.encode(photo, **bad)
    with pytest.raises(UsageError, match="exclude"):
        promptcodec.encode(photo, 50, target_size=3000)
    with pytest.raises(UsageError, match="one rate"):
        tic.encode(photo, target=one_target(size=3000))
    with pytest.raises(UsageError, match="too small for MS-SSIM"):
        promptcodec.encode(photo[:100, :100], target_ms_ssim=0.9)
    with pytest.raises(UsageError, match="too small for SSIMULACRA2"):
        promptcodec.encode(photo[:7, :100], target_ssimulacra2=60)
