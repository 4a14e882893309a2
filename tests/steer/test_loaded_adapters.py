"""Adapters and the hash of their base are read once, by all threads together, and again when a file has changed."""

import os
import threading
from collections import Counter
from functools import lru_cache

import pytest
import torch
from pictures import make_photo
from torch import nn

import promptcodec
from promptcodec import api
from promptcodec.steer import adapter_file as module
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import MOST_FILES, LoadedAdapters, save_adapter
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.store.model_file import save_model
from promptcodec.store.shipped_adapters import shipped_adapters
from promptcodec.system.bounded_cache import BoundedCache

PHOTO = make_photo(64, 64)


@pytest.fixture
def read(monkeypatch) -> Counter:
    """How often what was read: adapters by path, and ``base`` for the hash of a base."""
    counted: Counter = Counter()
    load, base = module.load_adapter, module.base_fingerprint

    def counted_load(path, *rest):
        counted[str(path)] += 1
        return load(path, *rest)

    def counted_base(network):
        counted["base"] += 1
        return base(network)

    monkeypatch.setattr(module, "load_adapter", counted_load)
    monkeypatch.setattr(module, "base_fingerprint", counted_base)
    monkeypatch.setattr(api, "_loading", BoundedCache(1))
    monkeypatch.setattr(api, "_codec", lru_cache(api.MOST_CODECS)(api._load_once))
    return counted


def test_regions_and_looks_read_every_adapter_once(read):
    gate = threading.Barrier(4)

    def work():
        gate.wait()
        data = promptcodec.encode(PHOTO, roi="0,0,40,40")
        promptcodec.decode(data, settings={"look": 0.5})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    promptcodec.encode(PHOTO, roi="0,0,40,40")
    own = promptcodec.load().adapters.files.base
    assert read == {str(a.path): 1 for a in shipped_adapters() if a.base == own} | {"base": 1}


def test_a_file_is_read_again_when_it_has_changed(read, codec, tmp_path):
    path = tmp_path / "gain.safetensors"
    adapter = GainUnits(codec.backend.network.config)
    save_adapter(adapter, codec.backend.network, path)
    loaded = codec.adapters.files
    first = loaded.load(path)
    assert loaded.load(str(path)) is first
    adapter.y.data *= 2
    save_adapter(adapter, codec.backend.network, path)
    os.utime(path, ns=(1, 1))
    assert loaded.load(path).fingerprint != first.fingerprint
    assert read[str(path)] == 2


def test_no_more_than_a_few_stay(codec, tmp_path):
    loaded = LoadedAdapters(codec.backend.network)
    for number in range(MOST_FILES + 3):
        save_adapter(GainUnits(codec.backend.network.config), codec.backend.network, tmp_path / f"{number}")
        loaded.load(tmp_path / f"{number}")
    assert len(loaded._stored) == MOST_FILES


def test_a_kind_that_is_defined_anew_is_built_anew(codec, tmp_path):
    """As in a notebook."""

    def define() -> type[Adapter]:
        class Redefined(Adapter, kind="test-redefined"):
            def __init__(self, base, name=""):
                super().__init__(base, name)
                self.weight = nn.Parameter(torch.ones(1))

        return Redefined

    first = define()
    save_adapter(first(codec.backend.network.config), codec.backend.network, tmp_path / "a")
    loaded = LoadedAdapters(codec.backend.network)
    assert type(loaded.load(tmp_path / "a").adapter) is first
    Adapter.kinds.pop("test-redefined")
    second = define()
    assert type(loaded.load(tmp_path / "a").adapter) is second


def test_codecs_are_kept_by_their_files(read, tic, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(tic.backend.network, path, "1")
    first = promptcodec.load(path)
    assert promptcodec.load(path) is first
    save_model(tic.backend.network, path, "2")
    os.utime(path, ns=(1, 1))
    assert promptcodec.load(path) is not first
    assert api._codec.cache_info().currsize <= api._codec.cache_info().maxsize == api.MOST_CODECS
