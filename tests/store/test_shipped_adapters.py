"""Adapters of the package: asked for by what they take, found by what a file names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptcodec
from promptcodec import api
from promptcodec.errors import ModelMismatchError, OtherBaseError, UsageError
from promptcodec.quality.psnr import psnr
from promptcodec.store.shipped_adapters import find_adapter, shipped_adapters

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def example() -> np.ndarray:
    return np.asarray(Image.open(EXAMPLE).convert("RGB"))[:256, :384]


def test_a_region_needs_no_name(codec, older, example, tmp_path):
    """``roi`` alone finds what the package has, and so does a file: in functions, from Pillow, when verified."""
    import promptcodec.pillow

    plain, data = promptcodec.encode(example, 30), promptcodec.encode(example, 30, roi="40,40,90,90")
    assert data == promptcodec.encode(example, 30, adapters=["region"], roi="40,40,90,90")
    assert promptcodec.info(data).adapters == ("region",)
    decoded = np.asarray(promptcodec.decode(data))
    inside = (slice(40, 130), slice(40, 130))
    assert psnr(example[inside], decoded[inside]) > 1 + psnr(
        example[inside], np.asarray(promptcodec.decode(plain))[inside]
    )
    (tmp_path / "x.ptc").write_bytes(data)
    with Image.open(tmp_path / "x.ptc") as image:
        assert (np.asarray(image) == decoded).all()
    codec.verify(data)
    with pytest.raises(OtherBaseError, match=r"adapter region ships for nano 0\.5; this base is another"):
        promptcodec.encode(example, 30, model="older", adapters=["region"], roi="1,1,9,9")
    with pytest.raises(
        ModelMismatchError, match=r"no adapter 'regin': it is neither a file nor .*\(.*region.*step.*\)"
    ):
        promptcodec.encode(example, adapters=["regin"])


def test_any_file_takes_any_look(older, example):
    plain, chosen = promptcodec.encode(example, 20), promptcodec.encode(example, 20, settings={"look": 1})
    assert len(chosen) - len(plain) < 32
    assert promptcodec.info(chosen).adapters == ("look",)
    shown = [np.asarray(promptcodec.decode(data, settings={"look": 1})) for data in (plain, chosen)]
    assert (shown[0] == shown[1]).all()
    assert (shown[0] == np.asarray(promptcodec.decode(chosen))).all()
    base = np.asarray(promptcodec.decode(plain))
    low, half = (np.asarray(promptcodec.decode(plain, settings={"look": look})) for look in (0, 0.5))
    assert psnr(base, low) > psnr(base, half) > psnr(base, shown[0])  # from the base's picture away
    assert psnr(example, base) - psnr(example, low) < 0.1
    both = promptcodec.encode(example, 20, settings={"look": 0.5}, roi="40,40,90,90")
    assert promptcodec.info(both).adapters == ("region", "look")
    assert promptcodec.decode(both, settings={"look": 0}).size == (384, 256)
    with pytest.raises(UsageError, match="no adapter of this file takes 'look'"):
        promptcodec.decode(promptcodec.encode(example, 20, model="older"), settings={"look": 1})
    with pytest.raises(UsageError, match="expected a number"):
        promptcodec.decode(plain, settings={"look": 2})


def test_the_newest_of_a_name(monkeypatch):
    assert len({(a.name, a.version, a.base) for a in shipped_adapters()}) == len(shipped_adapters())
    for adapter in shipped_adapters():
        newest = find_adapter(adapter.name, adapter.base)
        assert newest is not None
        assert int(newest.version) >= int(adapter.version)
    assert find_adapter("region", "0" * 16) is None


def test_a_file_says_its_look(photo):
    codec = promptcodec.load()
    with api.opened(codec.encode(photo, look=0.25)) as file:
        assert codec.adapters.signalled(file.adapters) == {"look": pytest.approx(0.25, abs=1e-4)}
    with api.opened(codec.encode(photo)) as file:
        assert codec.adapters.signalled(file.adapters) == {}
