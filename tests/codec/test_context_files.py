"""Every backbone and entropy model through real files: odd sizes, and settings that change floating-point results."""

import dataclasses
import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_photo
from test_exact import SETTINGS, latents

import promptcodec
from promptcodec.codec.exact import OffsetReader, pack_offsets
from promptcodec.errors import FormatError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import (
    Attention,
    CausalAttention,
    ContextualMean,
    Gain,
    Resample,
    SpaceChannel,
    Stage,
    Transform,
)  # fmt: skip
from promptcodec.model.presets.papers import elic, s2c, tic_context, with_ngram
from promptcodec.model.presets.registry import PRESETS, tic
from promptcodec.store.model_file import save_model

S2C_SMALL = {"blocks": (1, 2, 1), "channels": (16, 16, 16), "latent": 48, "hyper": 16, "groups": (8, 16, 24)}
BACKBONES = {
    "tic": tic(32, 32),
    "ngram": with_ngram(tic(32, 32), "ngram"),
    "s2c": s2c("s2c", "CAI", **S2C_SMALL, hidden=(24, 16)),
    "elic": elic(16, 48, (8, 16, 24), (24, 16)),
    "official tic": tic_context(32, 48, (1, 2, 1, 1, 1)),
}


def with_context(name, context):
    """The backbone with another entropy model; a hyper synthesis ends with as many features as that one wants."""
    base = BACKBONES[name]
    means = isinstance(context, ContextualMean)
    hyper, last = base.hyper_synthesis, base.hyper_synthesis.layers[-1]
    layers = (*hyper.layers[:-1], dataclasses.replace(last, channels=base.latent_channels * (1 if means else 2)))
    hyper = dataclasses.replace(hyper, layers=layers, bound=6.0 if means else 0.0)
    scale = "log" if means else base.scale
    return dataclasses.replace(
        base, name=name, hyper_synthesis=hyper, context=context, scale=scale, gain=Gain(0.001, 0.1)
    )


def contextual_mean(hyper):
    features = (Resample("up", 16), Stage(1, None), Resample("shuffle", 32, 1), Stage(1, Attention(1, 8)))
    return ContextualMean(Transform(hyper, features), hidden=24)


def contexts(channels, hyper):
    return {
        "hyperprior": None,
        "checkerboard": SpaceChannel((channels,)),
        "space-channel": SpaceChannel((8, channels - 8), hidden=(24, 16)),
        "space-channel of S2C": SpaceChannel((8, channels - 8), "s2c", "s2c", (24, 16)),
        "causal": CausalAttention(heads=8),
        "contextual means": contextual_mean(hyper),
    }


MATRIX = {
    f"{backbone}, {name}": with_context(backbone, context)
    for backbone, base in BACKBONES.items()
    for name, context in contexts(base.latent_channels, base.hyper_channels).items()
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


def codec_of(folder, name):
    path = folder / f"{name}.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        network = CompressionModel(MATRIX[name])
        for module in (network.h_s, network.context):  # untrained ones give nearly the same scales everywhere
            for parameter in module.parameters() if module is not None else ():
                parameter.data.mul_(2.0)
        save_model(network, path, "untrained")
    return promptcodec.load(path)


# The pictures are made up, and small.
pytestmark = pytest.mark.filterwarnings("ignore:a lossless PNG")


@pytest.mark.parametrize("name", MATRIX)
def test_odd_sizes(folder, name):
    codec = codec_of(folder, name)
    for height, width in ((1, 1), (3, 500)):
        data = codec.encode(make_photo(height, width) if height > 1 else make_photo(2, 2)[:1, :1], 60)
        assert codec.decode(data).size == (width, height)
        y_hat = latents(codec, data)
        assert not (y_hat * 256 % 1).any()


LARGE = ["s2c, space-channel of S2C", *(pytest.param(n, marks=pytest.mark.slow) for n in MATRIX if "hyper" not in n)]


@pytest.mark.parametrize("name", LARGE)
def test_a_large_odd_size(folder, name):
    codec = codec_of(folder, name)
    assert codec.decode(codec.encode(make_photo(719, 1281), 60)).size == (1281, 719)


FULL_SIZE = [
    "tic", "tic-context", "tic-hyperprior-context", "ngram", "elic", "s2c-conv", "s2c-attention", "s2c-hybrid-t",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size(tmp_path, name):
    torch.manual_seed(0)
    save_model(CompressionModel(PRESETS[name]()), tmp_path / "model.safetensors", "untrained")
    codec = promptcodec.load(tmp_path / "model.safetensors")
    for height, width in ((1, 1), (3, 500), (719, 1281)):
        photo = make_photo(height, width) if height > 1 else make_photo(2, 2)[:1, :1]
        data = codec.encode(photo)
        assert codec.decode(data).size == (width, height)  # latents by their checksum, or there is no picture


@pytest.fixture(scope="module")
def coded(folder, photo):
    """One file a model, and what its latents hash to under this process's settings."""
    lines, hashes = [], []
    for name in MATRIX:
        codec = codec_of(folder, name)
        data = codec.encode(photo, 70)
        (folder / f"{name}.ptc").write_bytes(data)
        lines.append(str(folder / name))
        hashes.append(hashlib.sha256(latents(codec, data).tobytes()).hexdigest())
    assert len(set(hashes)) == len(hashes)
    return lines, hashes


DECODE = """
import sys, hashlib, torch, promptcodec
{setup}
sys.path.insert(0, sys.argv[1])
from test_exact import latents
for path in sys.argv[2:]:
    y = latents(promptcodec.load(path + ".safetensors"), open(path + ".ptc", "rb").read())
    print(hashlib.sha256(y.tobytes()).hexdigest())
"""


@pytest.mark.parametrize("setting", SETTINGS)
def test_files_decode_under_other_settings(coded, setting):
    paths, hashes = coded
    environment, setup = SETTINGS[setting]
    run = subprocess.run(
        [sys.executable, "-c", DECODE.format(setup=setup), os.path.dirname(__file__), *paths],  # noqa: PTH120
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == hashes


@pytest.mark.parametrize("name", ["tic, causal", "s2c, space-channel of S2C"])
def test_noise_on_the_parameters_changes_nothing(folder, photo, name, monkeypatch):
    codec = codec_of(folder, name)
    coded = codec.coder.encode(codec.analyse(photo), 0.5)
    expected = codec.coder.decode_both(coded, *photo.shape[:2], 0.5)[1]
    clean, rng = codec.backend.hyper.schedule, np.random.default_rng(0)

    def noisy(*arguments):
        steps = clean(*arguments)
        try:
            step = next(steps)
            while True:
                moved = (p + 1e-11 * rng.standard_normal(p.shape) for p in (step.log_sigma, step.mean))
                step = steps.send((yield type(step)(step.where, *moved)))
        except StopIteration:
            return

    monkeypatch.setattr(codec.backend.hyper, "schedule", noisy)
    assert np.array_equal(codec.coder.decode_both(coded, *photo.shape[:2], 0.5)[1], expected)


def test_a_causal_step_near_a_border_takes_another_offset(folder, photo, monkeypatch):
    """Steps whose first offset is refused travel as exceptions, and decode."""
    from promptcodec.codec import latents as module

    codec, count = codec_of(folder, "tic, causal"), 0
    choose = module.choose_offsets

    def other(scale, mean):
        nonlocal count
        count += 1
        return bytes([count % 3 * 7]) if count % 5 == 0 else choose(scale, mean)

    monkeypatch.setattr(module, "choose_offsets", other)
    coded = codec.coder.encode(codec.analyse(photo), 0.5)
    assert 0 < len(coded.offsets) < count
    assert codec.coder.decode_both(coded, *photo.shape[:2], 0.5)[1].shape == (1, 32, 12, 16)


@given(st.lists(st.sampled_from([0, 0, 0, 0, 1, 255]), max_size=300), st.booleans(), st.data())
def test_offsets_round_trip(offsets, sparse, data):
    packed = pack_offsets(bytes(offsets), sparse)
    reader, taken = OffsetReader(packed, sparse), b""
    while len(taken) < len(offsets):
        taken += reader.take(data.draw(st.integers(1, len(offsets) - len(taken))))
    assert taken == bytes(offsets)
    assert reader.finish()


def test_damaged_offsets():
    with pytest.raises(FormatError, match="exception that is none"):
        OffsetReader(b"\0\0", True).take(1)
    with pytest.raises(FormatError):
        OffsetReader(b"\x80", True)
    assert not OffsetReader(b"\x05\1", True).finish()
