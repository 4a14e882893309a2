"""The rate of files whose adapters carry it, or were trained at one rate of their base."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import promptcodec
from promptcodec.bitstream.container import unpack
from promptcodec.bitstream.contents import Q_STEPS
from promptcodec.codec.search import Target
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.model.base import CompressionModel
from promptcodec.quality.psnr import psnr
from promptcodec.steer.adapter import LEVELS
from promptcodec.steer.adapter_file import load_adapter, save_adapter
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.pyramid import look, rate
from promptcodec.store.model_file import save_model

LAMBDA = 0.0067
STEP = 27929  # of nano: the position of LAMBDA between its ends, on a logarithmic scale


def gain_units(base) -> GainUnits:
    """Gains from 1/4 to 4 over the rate."""
    units = GainUnits(base, levels=3)
    units.y.data = torch.tensor([0.25, 1.0, 4.0])[:, None].expand_as(units.y).clone()
    units.y_inverse.data = 1 / units.y.data
    return units


@pytest.fixture(scope="module")
def files(tmp_path_factory, codec):
    """Adapters that were trained on ``nano`` kept at one rate, and one that was trained at another."""
    network, folder = codec.backend.network, tmp_path_factory.mktemp("adapters")
    torch.manual_seed(0)
    prompts = rate(network.config)
    for parameter in prompts.parameters():
        nn.init.normal_(parameter, std=0.05)
    save_adapter(gain_units(network.config), network, folder / "gains", LAMBDA)
    save_adapter(look(network.config, name="fixed"), network, folder / "fixed", LAMBDA)
    save_adapter(look(network.config, name="other"), network, folder / "other", 0.025)
    save_adapter(prompts, network, folder / "prompts")
    return folder


@pytest.fixture(scope="module")
def one_rate(tmp_path_factory, codec):
    """``nano``'s networks as a model of one rate, and gain units for it."""
    folder = tmp_path_factory.mktemp("one-rate")
    network = codec.backend.network
    torch.manual_seed(0)
    single = CompressionModel(dataclasses.replace(network.config, name="single", gain=None))
    single.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("gain.")})
    save_model(single, folder / "single.safetensors", "1")
    loaded = promptcodec.load(folder / "single.safetensors")
    save_adapter(gain_units(loaded.config), loaded.backend.network, folder / "gains")
    return loaded, folder / "gains"


def signalled(data: bytes, index: int = 0) -> float:
    """The first scalar of a file's adapter."""
    return int.from_bytes(unpack(data).adapters[index].signal[:2], "little") / LEVELS


def test_an_adapter_remembers_the_rate_of_its_base(codec, files):
    stored = load_adapter(files / "gains", codec.backend.network)
    assert (stored.base_lambda, stored.base_step) == (LAMBDA, STEP)
    plain = load_adapter(files / "prompts", codec.backend.network)
    assert (plain.base_lambda, plain.base_step) == (0.0, None)


def test_quality_goes_to_the_adapter_and_the_base_keeps_its_rate(codec, files, photo):
    sizes = []
    for quality in (10, 50, 90):
        data = codec.encode(photo, quality, adapters=[files / "gains"])
        assert unpack(data).header.q == STEP
        assert signalled(data) == pytest.approx(quality / 100, abs=1e-4)
        assert data == codec.encode(
            photo, adapters=[files / "gains"], settings={"rate": round(quality / 100 * Q_STEPS) / Q_STEPS}
        )
        sizes.append(len(data))
    assert sizes == sorted(set(sizes))
    assert codec.analysed(photo, adapters=[files / "gains"]).encode(90) == data


def test_targets_are_searched_with_the_carried_rate(codec, files, photo, one_rate):
    single, gains = one_rate
    for encode, adapter, size in ((codec.encode, files / "gains", 6_000), (single.encode, gains, 40_000)):
        data = encode(photo, target=Target("size", size), adapters=[adapter])
        assert 0.97 * size < len(data) <= size
        assert unpack(data).header.q in (STEP, 0)
    data = codec.encode(photo, target=Target("psnr", 24), adapters=[files / "gains"], effort=1)
    assert 24 <= psnr(photo, np.asarray(codec.decode(data, adapters=[files / "gains"]))) < 24.5


def test_a_base_of_one_rate(one_rate, photo):
    single, gains = one_rate
    sizes = [len(single.encode(photo, quality, adapters=[gains])) for quality in (5, 50, 95)]
    assert sizes == sorted(set(sizes))
    for wrong in ({"quality": 50}, {"target": Target("size", 4000)}):
        with pytest.raises(UsageError, match=r"takes no .*, unless an adapter carries the rate"):
            single.encode(photo, **wrong)
    with pytest.raises(UsageError, match="takes no quality"):
        single.encode(photo, 50, adapters=[gains], settings={"rate": 0.5})


def test_base_and_adapter_follow_together_where_it_was_trained_so(codec, files, photo):
    data = codec.encode(photo, 70, adapters=[files / "prompts"])
    assert unpack(data).header.q == round(0.7 * Q_STEPS)
    assert signalled(data) == pytest.approx(0.7, abs=1e-4)
    found = codec.encode(photo, target=Target("bpp", 0.5), adapters=[files / "prompts"])
    assert signalled(found) == pytest.approx(unpack(found).header.q / Q_STEPS, abs=1e-4)
    picture = codec.analysed(photo, adapters=[files / "prompts"])
    assert picture.encode(70) == data  # analysed anew: these prompts act in the encoder
    assert picture.encode(target=Target("bpp", 0.5)) == found


def test_another_quality_is_refused(codec, files, photo):
    steered = {"adapters": [files / "fixed"], "settings": {"look": 0.5}}
    data = codec.encode(photo, **steered)
    assert unpack(data).header.q == STEP
    assert data == codec.encode(photo, 100 * STEP / Q_STEPS, **steered)
    with pytest.raises(UsageError, match=r"quality 50 cannot be used with these adapters: .* on nano at quality 42\.6"):
        codec.encode(photo, 50, **steered)
    with pytest.raises(UsageError, match="the target cannot be used with these adapters"):
        codec.encode(photo, target=Target("size", 4000), **steered)
    with pytest.raises(UsageError, match=r"different rates of the base: fixed at λ = 0.0067 and other at λ = 0.025"):
        codec.encode(photo, adapters=[files / "fixed", files / "other"], settings={"look": 0.5})


def test_a_carried_rate_makes_one_curve_of_the_evaluation(files, photo):
    carried, fixed = open_codec(f"promptcodec:nano+{files}/gains"), open_codec(f"promptcodec:nano+{files}/fixed@look=0")
    assert len(carried.settings) > 3
    assert len(carried.encode(photo, 20)) < len(carried.encode(photo, 80))
    assert fixed.settings == pytest.approx((100 * STEP / Q_STEPS,))
    assert fixed.decode(fixed.encode(photo, fixed.settings[0])).shape == photo.shape


def test_verified_in_tiles_and_from_two_threads_files_are_the_same(codec, files, photo):
    """``prompts`` act in the analysis: every rate has latents of its own."""
    adapters = [files / "prompts"]
    expected = {quality: codec.encode(photo, quality, adapters=adapters) for quality in (20, 80)}
    assert codec.encode(photo, 20, adapters=adapters, verify=True) == expected[20]
    with pytest.warns(UserWarning, match="are too few"):
        tiled = codec.encode(np.tile(photo, (2, 2, 1)), 20, adapters=adapters, memory=2**20, verify=True)
    assert unpack(tiled).header.tile_width == 256
    assert signalled(tiled) == signalled(expected[20])
    analysed = codec.analysed(photo, adapters=adapters)
    with ThreadPoolExecutor(2) as threads:
        for _ in range(3):
            assert dict(zip((20, 80), threads.map(analysed.encode, (20, 80)), strict=True)) == expected


@pytest.mark.parametrize("base_lambda", [-1.0, 1e9, "x", True])
def test_a_rate_that_the_base_does_not_have_is_damage(codec, files, tmp_path, base_lambda):
    network = codec.backend.network
    save_adapter(gain_units(network.config), network, tmp_path / "bad", base_lambda)
    with pytest.raises(ModelMismatchError, match="its base has no rate at lambda"):
        load_adapter(tmp_path / "bad", network)
