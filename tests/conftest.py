"""Fixtures shared by all tests."""

import os
import sys
from functools import lru_cache
from pathlib import Path

import golden
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from pictures import make_photo

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("PROMPTCODEC_SHARED", ROOT.parent / "shared"))

# A busy machine is no reason to fail.
settings.register_profile("promptcodec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("promptcodec")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with pictures, networks, others' results and the full golden vectors, no part of the repository.

    Taken from ``PROMPTCODEC_SHARED`` or from ``shared`` beside the checkout; the test is skipped where neither exists.
    """
    if not SHARED.is_dir():
        pytest.skip(f"needs files that the repository does not have, from {SHARED} (PROMPTCODEC_SHARED)")
    return SHARED


@pytest.fixture(scope="session")
def networks(shared: Path) -> Path:
    """Folder with the networks of LPIPS and DISTS; the test is skipped where it is missing."""
    folder = shared / "data" / "networks"
    if not folder.is_dir():
        pytest.skip("needs the networks of the test data folder")
    return folder


@pytest.fixture(scope="session", params=golden.folders(SHARED), ids=["reduced", "full"][: len(golden.folders(SHARED))])
def vectors(request: pytest.FixtureRequest) -> golden.Vectors:
    """Golden vectors: the reduced ones of the repository, then the full ones where the test data folder has them."""
    return golden.Vectors(request.param)


@pytest.fixture(scope="session")
def codec():
    """The shipped model, which stays the one that ``promptcodec.load`` gives, however many others are loaded."""
    import promptcodec
    from promptcodec import api

    api._codec = lru_cache(1000)(api._load_once)
    return promptcodec.load()


@pytest.fixture(scope="session")
def tic_file(tmp_path_factory) -> Path:
    """A model file of the papers' base codec with random weights."""
    import torch

    from promptcodec.model.base import CompressionModel
    from promptcodec.model.presets.registry import PRESETS
    from promptcodec.store.model_file import save_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tic.safetensors"
    save_model(CompressionModel(PRESETS["tic"]()), path, "untrained")
    return path


@pytest.fixture(scope="session")
def tic(tic_file):
    """The codec in ``tic_file``."""
    import promptcodec

    return promptcodec.load(tic_file)


@pytest.fixture
def older(monkeypatch) -> Path:
    """The file of a tiny model that ships as ``older`` beside the default one; no adapter of the package is for it."""
    from promptcodec.store import shipped

    path = ROOT / "tests" / "conformance" / "tiny.safetensors"
    both = shipped.shipped_models() | {"older": shipped.read_metadata(path) | {"path": str(path)}}
    monkeypatch.setattr(shipped, "shipped_models", lambda: both)
    return path


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """(160, 208, 3) uint8."""
    return make_photo(160, 208)


@pytest.fixture
def small_vgg(tmp_path) -> Path:
    """A file of random weights of a small VGG with two poolings."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    tensors = {}
    for place, (inner, outer) in {0: (3, 4), 2: (4, 4), 5: (4, 8)}.items():
        tensors[f"features.{place}.weight"] = torch.randn(outer, inner, 3, 3).half()
        tensors[f"features.{place}.bias"] = torch.randn(outer).half()
    save_file(tensors, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


@pytest.fixture
def run(monkeypatch, capfd):
    """Run the command line in this process: (exit code, standard output, standard error)."""

    from promptcodec.cli import app

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["promptcodec", *map(str, arguments)])
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return call


@pytest.fixture(scope="session")
def local_ray():
    """The module ``ray``, connected to a cluster of this machine with two cores, which takes seconds to start."""
    from promptcodec.batch.ray_cluster import connected

    with connected(None, 2) as ray:
        yield ray
