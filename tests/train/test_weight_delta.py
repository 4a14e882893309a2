"""Weights kept as differences from a model that ships."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.store.model_file import load_model, save_model
from promptcodec.store.shipped import find_model

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "weight_delta.py"


@pytest.fixture
def trained(tmp_path):
    """A model file a little further than nano: noise stands for training, and one tensor stays as it was."""
    network = load_model(find_model("nano")).network
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("gain."):
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.add_(noise * 0.05 * parameter.std().nan_to_num())
    path = tmp_path / "model.safetensors"
    save_model(network, path, "1")
    return path


def test_there_and_back(trained, tmp_path, monkeypatch):
    packed, unpacked = tmp_path / "new" / "trunk.delta", tmp_path / "back.safetensors"
    for arguments in (["pack", trained, "-o", packed], ["unpack", packed, "-o", unpacked]):
        monkeypatch.setattr(sys, "argv", ["weight_delta.py", *map(str, arguments), "--base", "nano"])
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert packed.stat().st_size < trained.stat().st_size / 2
    base, there, back = (load_model(path).network.state_dict() for path in (find_model("nano"), trained, unpacked))
    change = sum((there[name] - base[name]).square().sum() for name in base if name != "prior.quantiles")
    missed = sum((there[name] - back[name]).square().sum() for name in base if name != "prior.quantiles")
    assert missed < 0.002 * change
    assert all(back[name].equal(base[name]) for name in base if name.startswith("gain."))


def test_another_base(trained):
    script = runpy.run_path(str(SCRIPT))
    nano, small = load_model(find_model("nano")), load_model(find_model("small"))
    packed = script["pack"](load_model(trained), nano)
    with pytest.raises(UsageError, match=f"{nano.fingerprint}.*{small.fingerprint}"):
        script["unpack"](packed, small)
    for damaged in (b"no delta", packed[: len(packed) // 2]):
        with pytest.raises(UsageError, match="cut off"):
            script["unpack"](damaged, nano)
    with pytest.raises(UsageError, match="other names or shapes"):
        script["pack"](load_model(trained), small)


def test_the_newest_weights_of_the_trunk_fit_the_model_that_ships():
    """They are the only copy where the trunk's folder is lost: pack them anew when another ``small`` ships."""
    script = runpy.run_path(str(SCRIPT))
    small = load_model(find_model("small"))
    before = {name: tensor.clone() for name, tensor in small.network.state_dict().items()}
    after = script["unpack"]((SCRIPT.parent / "trunk.delta").read_bytes(), small).state_dict()
    assert all(tensor.isfinite().all() for tensor in after.values())
    assert any(not tensor.equal(before[name]) for name, tensor in after.items())
