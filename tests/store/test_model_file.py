"""Model files: there and back, fingerprints, refusals, and what ships."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import PRESETS
from promptcodec.store.fingerprint import pixel_fingerprint, probability_fingerprint
from promptcodec.store.model_file import load_model, save_model
from promptcodec.store.shipped import DEFAULT, model_for, shipped_models


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CompressionModel(PRESETS["nano"]())


def test_there_and_back(network, tmp_path):
    save_model(network, tmp_path / "m.safetensors", "1.2")
    stored = load_model(tmp_path / "m.safetensors")
    assert (stored.name, stored.version) == ("nano", "1.2")
    for name, value in network.state_dict().items():
        assert torch.equal(stored.network.state_dict()[name], value.half().to(value.dtype))
    save_model(stored.network, tmp_path / "again.safetensors", "1.2")
    assert load_model(tmp_path / "again.safetensors").fingerprint == stored.fingerprint


def test_fingerprints_follow_what_they_stand_for(network, tmp_path):
    def fingerprints(change):
        changed = CompressionModel(network.config)
        changed.load_state_dict(network.state_dict())
        with torch.no_grad():
            for name, value in changed.named_parameters():
                if name.startswith(change):
                    value.add_(0.01)
        save_model(changed, tmp_path / "m.safetensors", "0")
        return load_model(tmp_path / "m.safetensors").fingerprint.split("-")

    probability, pixels = fingerprints("nothing")
    assert fingerprints("g_a") == [probability, pixels]
    assert fingerprints("g_s")[0] == probability
    assert fingerprints("g_s")[1] != pixels
    for change in ("h_s", "prior.biases", "gain.y"):
        assert fingerprints(change)[0] != probability


def test_damaged_foreign_and_missing_files(network, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(network, path, "0")
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors["h_s.layers.0.weight"] = tensors["h_s.layers.0.weight"] + 1
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ModelMismatchError, match="damaged"):
        load_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(ModelMismatchError, match="no promptcodec model"):
        load_model(path)
    path.write_bytes(b"nonsense")
    for bad in (path, tmp_path / "missing"):
        with pytest.raises(ModelMismatchError, match="cannot be read"):
            load_model(bad)


def test_weights_that_half_precision_cannot_hold(network, tmp_path):
    changed = CompressionModel(network.config)
    changed.load_state_dict(network.state_dict())
    with torch.no_grad():
        changed.g_a.shortcut.weight.fill_(1e6)
    with pytest.raises(UsageError, match="not finite in half precision"):
        save_model(changed, tmp_path / "m.safetensors", "0")


def test_what_ships():
    assert DEFAULT in shipped_models()
    for metadata in shipped_models().values():
        stored = load_model(metadata["path"])
        assert stored.probability.hex() == metadata["probability_fingerprint"]
        assert str(model_for(stored.probability, stored.pixels)) == metadata["path"]
        assert json.loads(metadata["config"])["fields"]["name"] == stored.name
    assert model_for(bytes(8), bytes(4)) is None


def changed_file(network, path, tensors=lambda t: None, metadata=lambda m: None):
    """A model file with changes that its fingerprints agree with."""
    save_model(network, path, "0")
    stored = load_file(path)
    with safe_open(path, "pt") as file:
        facts = file.metadata()
    tensors(stored)
    fields = json.loads(facts["config"])["fields"]
    facts["probability_fingerprint"] = probability_fingerprint(stored, fields).hex()
    facts["pixel_fingerprint"] = pixel_fingerprint(stored, fields).hex()
    metadata(facts)
    save_file(stored, path, metadata=facts)
    return path


@pytest.mark.parametrize("case", [
    {"metadata": lambda m: m.pop("config")},
    {"metadata": lambda m: m.pop("version")},
    {"metadata": lambda m: m.update(config="{}")},
    {"tensors": lambda t: t.pop("tables.flat")},
    {"tensors": lambda t: t.pop("g_a.layers.0.weight")},
    {"tensors": lambda t: t.update({"g_s.layers.0.weight": torch.zeros(3)})},
    {"tensors": lambda t: t.update({"tables.lengths": t["tables.lengths"][:-1].clone()})},
])  # fmt: skip
def test_model_files_that_do_not_hold_what_they_state(network, tmp_path, case):
    with pytest.raises(ModelMismatchError) as caught:
        load_model(changed_file(network, tmp_path / "m.safetensors", **case))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_medians_belong_to_the_fingerprint(network, tmp_path):
    def shift(tensors):
        tensors["prior.quantiles"] = tensors["prior.quantiles"] + 0.3

    save_model(network, tmp_path / "a.safetensors", "0")
    other = load_model(changed_file(network, tmp_path / "b.safetensors", shift))
    assert other.probability != load_model(tmp_path / "a.safetensors").probability
