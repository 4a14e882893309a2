"""A larger model that begins as a smaller one."""

import dataclasses

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Stage
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.train import growth
from promptcodec.train.growth import grow, grows
from promptcodec.train.start import start_from


@pytest.fixture(scope="module")
def pictures():
    torch.manual_seed(0)
    return torch.nn.functional.interpolate(torch.rand(8, 3, 16, 16), scale_factor=8, mode="bilinear")


def test_what_grows_from_nano(codec):
    nano = codec.backend.network.config
    assert grows(nano, CONFIGURATIONS["small"]())
    assert grows(nano, CONFIGURATIONS["small-no-means"]())
    assert not grows(nano, CONFIGURATIONS["small-linear"]())
    assert not grows(nano, CONFIGURATIONS["tic"]())
    busy = CONFIGURATIONS["small"]()
    layers = tuple(dataclasses.replace(l, zero_init=False) if isinstance(l, Stage) else l for l in busy.analysis.layers)
    assert not grows(nano, dataclasses.replace(busy, analysis=dataclasses.replace(busy.analysis, layers=layers)))


def test_without_means_it_begins_as_nano_bit_for_bit(codec, pictures):
    torch.manual_seed(0)
    model = CompressionModel(CONFIGURATIONS["small-no-means"]()).eval()
    assert grow(model, codec.backend.network, pictures) == 0.0
    q = torch.full((len(pictures),), 0.6)
    with torch.no_grad():
        ours, theirs = model(pictures, q, "round"), codec.backend.network(pictures, q, "round")
    assert torch.equal(ours["x_hat"], theirs["x_hat"])
    assert torch.equal(ours["likelihoods"]["y"], theirs["likelihoods"]["y"])


def test_small_begins_with_nanos_pixels_and_nearly_its_rate(codec, pictures, monkeypatch):
    monkeypatch.setattr(growth, "FIT_STEPS", 150)
    torch.manual_seed(0)
    model = CompressionModel(CONFIGURATIONS["small"]())
    error = grow(model, codec.backend.network, pictures)
    assert error < 0.5
    model.eval()
    q = torch.full((len(pictures),), 0.6)
    with torch.no_grad():
        ours, theirs = model(pictures, q, "round"), codec.backend.network(pictures, q, "round")
    # The same means up to the order of sums, which tips a rounding here and there.
    errors = [float((out["x_hat"] - pictures).square().mean()) for out in (ours, theirs)]
    assert errors[0] == pytest.approx(errors[1], rel=0.02)
    bits = [-sum(p.double().log2().sum() for p in out["likelihoods"].values()) for out in (ours, theirs)]
    assert bits[0] < 1.15 * bits[1]
    before = bits[0]
    head = model.context.first.weight
    with torch.no_grad():
        head.zero_()  # first means are what the rate hangs on
        worse = model(pictures, q, "round")
    assert -sum(p.double().log2().sum() for p in worse["likelihoods"].values()) > before


def test_a_run_starts_from_a_smaller_model_by_name(codec, pictures, monkeypatch):
    monkeypatch.setattr(growth, "FIT_STEPS", 2)
    model = CompressionModel(CONFIGURATIONS["small"]())
    start_from(model, "nano", crops=lambda count: pictures)
    assert torch.equal(model.g_a.shortcut.weight, codec.backend.network.g_a.shortcut.weight)
    assert torch.equal(model.gain.y, codec.backend.network.gain.y)
    with pytest.raises(UsageError, match="cannot start"):
        start_from(CompressionModel(CONFIGURATIONS["small-linear"]()), "nano", crops=lambda count: pictures)
