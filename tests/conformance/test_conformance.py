"""Files that every release must decode, to the same latents and to pixels within a level; and files it must refuse."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from conformance import make
from PIL import Image

import promptcodec
from promptcodec import errors
from promptcodec.api import codec_of
from promptcodec.picture.write import to_pil
from promptcodec.steer.adapter_file import load_adapter
from promptcodec.store.model_file import load_model
from promptcodec.store.shipped import shipped_models
from promptcodec.store.shipped_adapters import ADAPTERS, find_adapter, shipped_adapters
from promptcodec.store.versions import registered

FOLDER = make.FOLDER
LISTS = sorted(path for path in FOLDER.glob("*.json") if path.stem != "bad")
FILES = {name: entry for path in LISTS for name, entry in json.loads(path.read_text("utf-8")).items()}
BAD = json.loads((FOLDER / "bad.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def codecs():
    found = {name: codec_of(load_model(FOLDER / f"{name}.safetensors")) for name in make.MODELS}
    return found | {name: promptcodec.load(name) for name in shipped_models()}


def codec_for(codecs, name, entry):
    if entry["model"] in make.MODELS:
        return codecs[entry["model"]]
    return promptcodec.api.codec_for((FOLDER / f"{name}.ptc").read_bytes())  # whatever bears the name today


@pytest.mark.parametrize("name", FILES)
def test_sound_files(codecs, name):
    entry, data = FILES[name], (FOLDER / f"{name}.ptc").read_bytes()
    codec = codec_for(codecs, name, entry)
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    adapters = [FOLDER / entry["adapter"]] if entry["adapter"] else []
    assert make.latents_of(codec, data, adapters) == entry["latents"]
    found = to_pil(codec.decode_picture(data, adapters=adapters))
    with Image.open(FOLDER / f"{name}.png") as expected:
        assert found.mode == expected.mode
        difference = np.abs(np.asarray(found, int) - np.asarray(expected, int))
        assert difference.max() <= 1
    codec.verify(data, adapters=adapters)


def test_files_are_not_all_alike():
    assert len({entry["latents"] for entry in FILES.values()}) >= len(FILES) - 6  # alpha, metadata, reserved chunks


@pytest.mark.parametrize("name", BAD)
def test_bad_files(codecs, name):
    data, entry = (FOLDER / "bad" / f"{name}.ptc").read_bytes(), BAD[name]
    for call in (codecs["tiny"].decode, codecs["tiny"].verify):
        with pytest.raises(getattr(errors, entry["error"])) as caught:
            call(data)
        assert entry["message"] in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_is_ever_changed(tmp_path, monkeypatch):
    with pytest.raises(FileExistsError):
        make.new("plain.ptc", b"other")
    with pytest.raises(FileExistsError):
        make.bad()
    with pytest.raises(SystemExit, match="never changed"):
        make.features()


def test_shipped_models_are_registered_and_stable_ones_are_shipped():
    by_fingerprint = {metadata["fingerprint"]: Path(metadata["path"]) for metadata in shipped_models().values()}
    assert set(by_fingerprint) <= {entry.fingerprint for entry in registered()}
    for entry in registered():
        assert entry.fingerprint in by_fingerprint or not entry.stable
        if entry.fingerprint in by_fingerprint:
            data = by_fingerprint[entry.fingerprint].read_bytes()
            assert hashlib.sha256(data).hexdigest() == entry.sha256
            assert f"{entry.name}-{entry.version}.json" in {path.name for path in LISTS}


def test_registered_adapters_are_shipped():
    for entry in shipped_adapters():
        model = promptcodec.load(entry.base_name.replace(" ", "-"))
        stored = load_adapter(entry.path, model.backend.network)
        assert (stored.name, stored.fingerprint.hex()) == (entry.name, entry.fingerprint)
        assert find_adapter(entry.name, entry.base) is not None
        assert hashlib.sha256(entry.path.read_bytes()).hexdigest() == entry.sha256
        assert entry.path.with_suffix(".json").name in {path.name for path in LISTS}
    assert {path.name for path in ADAPTERS.glob("*.safetensors")} == {entry.file for entry in shipped_adapters()}


def test_a_release_declares_a_model_and_its_adapters_stable(tmp_path, monkeypatch):
    for name in ("REGISTER", "ADAPTER_REGISTER"):
        entries = json.loads(getattr(make, name).read_text("utf-8"))
        others = [entry | {"version": "0", "base_name": "nano 0", "fingerprint": "-"} for entry in entries[:1]]
        monkeypatch.setattr(make, name, tmp_path / name)
        make.write_register(tmp_path / name, [entry | {"stable": False} for entry in entries + others])
    make.stable("nano")
    for name in ("REGISTER", "ADAPTER_REGISTER"):
        *entries, other = json.loads((tmp_path / name).read_text("utf-8"))
        of_nano = [entry.get("base_name", entry["name"]).startswith("nano") for entry in entries]
        assert any(of_nano)
        assert [entry["stable"] for entry in entries] == of_nano
        assert not other["stable"]
    with pytest.raises(SystemExit, match="stable already"):
        make.stable("nano")
    with pytest.raises(SystemExit, match="in the register already"):
        make.model("nano")
