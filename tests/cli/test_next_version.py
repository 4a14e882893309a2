"""A better model under the same name: files, adapters and names of the versions before it go on working."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from conformance import make
from PIL import Image

import promptcodec
import promptcodec.pillow
from promptcodec.batch import runtime
from promptcodec.bitstream.container import pack, unpack
from promptcodec.errors import ModelMismatchError, OtherBaseError
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.model.base import CompressionModel
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.store import shipped, versions
from promptcodec.store.model_file import load_model, save_model

VERSIONS = {"nano-1": "", "nano-2": "g_s.", "nano": "h_s."}  # what each changes of the first


@pytest.fixture
def three(tmp_path, monkeypatch):
    """A release with three versions of a tiny nano: the second has another synthesis, the third, the default, another
    hyper synthesis."""
    first = load_model(make.FOLDER / "tiny.safetensors").network
    config = dataclasses.replace(first.config, name="nano")
    (tmp_path / "weights").mkdir()
    for number, (name, prefix) in enumerate(VERSIONS.items(), 1):
        network = CompressionModel(config)
        network.load_state_dict(first.state_dict())
        torch.manual_seed(0)
        with torch.no_grad():
            for key, value in network.named_parameters():
                if prefix and key.startswith(prefix):
                    value.add_(0.05 * torch.randn_like(value))
        save_model(network, tmp_path / "weights" / f"{name}.safetensors", str(number))
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "weights")
    caches = (shipped.shipped_models, versions.registered, runtime.codec)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


def test_every_file_gets_the_pixels_of_its_own_version(three, run):
    photo, found = make.picture(75, 90), []
    for name in VERSIONS:
        data = promptcodec.encode(photo, 50, model=name)
        (three / f"{name}.ptc").write_bytes(data)
        assert promptcodec.info(data).model == name
        expected = np.asarray(promptcodec.load(name).decode(data))
        assert run("decode", three / f"{name}.ptc")[0] == 0
        small = np.asarray(promptcodec.preview(promptcodec.encode(photo, 50, model=name, preview=True)))
        assert small.shape == (75, 90, 3)
        for path in (f"{name}.ptc", f"{name}.png"):
            with Image.open(three / path) as image:
                assert np.array_equal(np.asarray(image), expected)
        assert np.array_equal(np.asarray(promptcodec.decode(data)), expected)
        found.append(expected)
    assert not np.array_equal(found[0], found[1])  # one probability fingerprint, two syntheses
    assert run("verify", *(three / f"{name}.ptc" for name in VERSIONS))[0] == 0


def test_without_its_own_synthesis_another_will_do(three):
    data = promptcodec.encode(make.picture(75, 90), 50, model="nano-1")
    file = unpack(data)
    other = pack(dataclasses.replace(file, header=dataclasses.replace(file.header, pixels=b"\1\2\3\4")))
    assert promptcodec.decode(other).size == (90, 75)
    assert shipped.model_for(bytes(8), file.header.pixels) is None


def test_an_experimental_version_that_is_gone_is_named(three, monkeypatch):
    """Files of a version that a release had and a later one dropped are refused by its name; others, by fingerprint."""
    data = promptcodec.encode(make.picture(75, 90), 50, model="nano-1")
    fingerprint = shipped.shipped_models()["nano-1"]["fingerprint"]
    for name in ("nano-1", "nano-2"):  # both have the entropy model that the file needs
        (three / "weights" / f"{name}.safetensors").unlink()
    shipped.shipped_models.cache_clear()
    monkeypatch.setattr(versions, "REGISTER", three / "versions.json")
    entry = {"name": "nano", "version": "1", "fingerprint": fingerprint, "stable": False, "sha256": ""}
    for register, message in (
        ([entry], r"needs model nano 1 \(.*, an experimental version.*\(it has nano [0-9a-f]{16}\)"),
        ([], f"needs model {fingerprint.split('-', maxsplit=1)[0]}, which"),
    ):
        (three / "versions.json").write_text(json.dumps(register), "utf-8")
        versions.registered.cache_clear()
        with pytest.raises(ModelMismatchError, match=message):
            promptcodec.decode(data)


def test_a_version_can_be_named_before_and_after_its_name_is_taken(three):
    assert promptcodec.load("nano-3") is promptcodec.load("nano") is promptcodec.load()
    assert shipped.read_metadata(shipped.find_model("nano-1"))["version"] == "1"
    with pytest.raises(ModelMismatchError, match="there is no model 'nano-4'"):
        promptcodec.load("nano-4")
    data = promptcodec.encode(make.picture(75, 90), 50, model="nano-1")
    with pytest.raises(ModelMismatchError, match="this release has that one as nano-1: name it, or no model at all"):
        promptcodec.load("nano").decode(data)
    assert open_codec("promptcodec:nano-1").key(50) != open_codec("promptcodec:nano").key(50)


def test_adapters_of_both_bases_decode_what_is_theirs(three, run):
    Image.fromarray(make.picture(75, 90)).save(three / "a.png")
    for name in ("nano-1", "nano"):
        network = promptcodec.load(name).backend.network
        torch.manual_seed(1)
        adapter = GainUnits(network.config, levels=2)
        save_adapter(adapter, network, three / f"{name}-gain.safetensors")
        options = ("--model", name, "--adapter", three / f"{name}-gain.safetensors", "--set", "rate=0.5")
        assert run("encode", three / "a.png", "-o", three / "coded" / f"{name}.ptc", *options)[0] == 0
    shutil.copy(make.FOLDER / "plain.ptc", three / "coded" / "plain.ptc")
    both = [three / f"{name}-gain.safetensors" for name in ("nano-1", "nano")]
    given = [argument for path in both for argument in ("--adapter", path)]
    code, _, err = run("decode", three / "coded", "-o", three / "out", *given)
    assert (code, err) == (0, "")
    assert run("verify", three / "coded", *given)[0] == 0
    old = three / "coded" / "nano-1.ptc"
    assert promptcodec.decode(old, adapters=both).size == (90, 75)
    with pytest.raises(ModelMismatchError, match=r"the file needs adapter .* was trained on nano"):
        promptcodec.decode(old, adapters=both[1:])
    with pytest.raises(OtherBaseError, match=r"was trained on nano .*--model"):
        promptcodec.encode(make.picture(75, 90), adapters=both[:1], settings={"rate": 0.5})
