"""Exactness: the same integers under every setting that changes floating-point results, and with noise on top."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from promptcodec.bitstream.container import unpack
from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN
from promptcodec.codec import exact
from promptcodec.codec.exact import UnstableParametersError, choose_offsets, quantise_parameters
from promptcodec.codec.latents import CodedLatents, symbols_of_z
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.errors import FormatError

CENTRES = np.log(np.geomspace(SIGMA_MIN, SIGMA_MAX, BINS))


def test_nearest_bin_and_nearest_mean():
    log_sigma = np.concatenate([[-math.inf, -50.0], CENTRES, [9.0]])
    mean = np.linspace(-3, 3, len(log_sigma))
    quantised = quantise_parameters(log_sigma, mean, choose_offsets(log_sigma, mean))
    assert quantised.bins.tolist() == [0, 0, *range(BINS), BINS - 1]
    assert np.abs(quantised.means - mean * 256).max() <= 0.5 + 1 / 256


def test_a_value_on_a_border_takes_another_offset():
    border = (CENTRES[10:11] + CENTRES[11:12]) / 2
    mean = np.array([0.25])
    assert choose_offsets(border, mean) != b"\0"
    assert choose_offsets(border + 1e-3, mean) == b"\0"
    on_grid_border = np.array([0.5 / 256])
    assert choose_offsets(border + 1e-3, on_grid_border) != b"\0"


def test_noise_within_the_margin_changes_nothing():
    rng = np.random.default_rng(0)
    count = 3 * exact.PIECE + 17
    log_sigma, mean = rng.standard_normal((2, count))
    mean[:50] = (np.arange(50) + 0.5) / 256  # all on borders: the first offset will not do
    offsets = choose_offsets(log_sigma, mean)
    assert len(offsets) == 4
    expected = quantise_parameters(log_sigma, mean, offsets)
    for scale in (1e-11, -1e-11, 1e-10):
        noisy = quantise_parameters(log_sigma + scale * rng.random(count), mean + scale * rng.random(count), offsets)
        assert np.array_equal(noisy.bins, expected.bins)
        assert np.array_equal(noisy.means, expected.means)


def test_large_means_have_a_wider_margin():
    log_sigma, mean = np.random.default_rng(0).standard_normal((2, 100_000))
    mean[0] = 2048.3
    offsets = choose_offsets(log_sigma, mean)
    expected = quantise_parameters(log_sigma, mean, offsets)
    for amount in (1.5e-8, -1.5e-8):
        assert np.array_equal(quantise_parameters(log_sigma, mean + amount, offsets).means, expected.means)
    mean[0] = 1e7 + 0.3  # no offset is clear of borders by so much: less has to do
    assert len(choose_offsets(log_sigma, mean)) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad):
    good = np.zeros(5)
    worse = good.copy()
    worse[2] = bad
    for pair in ((worse, good), (good, worse)):
        with pytest.raises(UnstableParametersError, match="not finite"):
            choose_offsets(*pair)


def test_always_on_a_border_is_refused():
    mean = (np.arange(256) / 256 + 0.5) / 256
    with pytest.raises(UnstableParametersError, match="no border offset"):
        choose_offsets(np.zeros(256), mean)


@pytest.mark.parametrize("which", ["codec", "tic"])
def test_decoding_with_noise_on_the_parameters(request, monkeypatch, photo, which):
    codec = request.getfixturevalue(which)
    q = 0.5 if codec.backend.network.gain is not None else 0.0
    coded = codec.coder.encode(codec.analyse(photo), q)
    expected = codec.coder.decode_both(coded, *photo.shape[:2], q)[1]
    hyper, rng = codec.backend.hyper, np.random.default_rng(0)
    clean = hyper.parameters
    monkeypatch.setattr(
        hyper, "parameters", lambda *args: tuple(p + 1e-11 * rng.standard_normal(p.shape) for p in clean(*args))
    )
    assert np.array_equal(codec.coder.decode_both(coded, *photo.shape[:2], q)[1], expected)


def test_the_checksum_catches_other_parameters(codec, monkeypatch, photo):
    coded = codec.coder.encode(codec.analyse(photo), 0.5)
    clean = codec.backend.hyper.parameters
    monkeypatch.setattr(codec.backend.hyper, "parameters", lambda *args: tuple(p + 3e-3 for p in clean(*args)))
    with pytest.raises(FormatError):
        codec.coder.decode_both(coded, *photo.shape[:2], 0.5)[1]


def test_memory_formats_and_batches_give_the_same_parameters(codec, photo):
    """h_s in float64, alone and as the second of a batch, contiguous and channels last: far within the margin."""
    hyper = codec.backend.hyper
    symbols = symbols_of_z(hyper, codec.analyse(photo), hyper.gains(0.5))
    reference = np.concatenate(hyper.parameters(symbols, 0.5))
    channels_last = np.ascontiguousarray(symbols.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for z_symbols in (channels_last, np.concatenate([symbols * 0, symbols])):
        other = np.concatenate([p[-1:] for p in hyper.parameters(z_symbols, 0.5)])
        assert np.abs(other - reference).max() < 1e-11


SETTINGS = {
    "one thread": ({}, "torch.set_num_threads(1)"),
    "no oneDNN": ({}, "torch.backends.mkldnn.set_flags(False)"),
    "default ATen, SSE4.1 oneDNN": ({"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}, "pass"),
    "AVX2": ({"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "torch.set_num_threads(2)"),
    "pure-Python coder": (
        {},
        "import promptcodec.bitstream.rans as r; r.Decoder.__init__.__defaults__ = ('python',)",
    ),
}
DECODE = """
import sys, hashlib, torch, promptcodec
{setup}
from promptcodec.bitstream.container import unpack
from promptcodec.bitstream.contents import Q_STEPS
from promptcodec.codec.latents import CodedLatents
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    file = unpack(data)
    codec = promptcodec.load(sys.argv[1] if path.endswith("tic.ptc") else None)
    tile, q = file.tiles[0], file.header.q / Q_STEPS
    coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
    y = codec.coder.decode_both(coded, file.header.height, file.header.width, q)[1]
    print(hashlib.sha256(y.tobytes()).hexdigest())
"""


def latents(codec, data):
    """What must be the same everywhere: ŷ, or with contextual means the symbols, of a file's first tile."""
    file = unpack(data)
    tile, q = file.tiles[0], file.header.q / 65_535
    coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
    size = file.header.height, file.header.width
    if isinstance(codec.coder, OneShotCoder):
        return codec.coder.symbols.decode(coded, *size, q)[0].y.astype(np.float64)
    return codec.coder.decode_both(coded, *size, q)[1]


@pytest.fixture(scope="module")
def coded_files(tmp_path_factory, codec, tic, photo):
    """Files of both models and what their latents hash to, made under this process's settings."""
    import hashlib

    folder = tmp_path_factory.mktemp("files")
    paths, hashes = [], []
    for name, one, quality in (("shipped", codec, 40), ("fine", codec, 90), ("tic", tic, None)):
        data = one.encode(photo, quality)
        (folder / f"{name}.ptc").write_bytes(data)
        paths.append(str(folder / f"{name}.ptc"))
        hashes.append(hashlib.sha256(latents(one, data).tobytes()).hexdigest())
    return paths, hashes


@pytest.mark.parametrize("setting", SETTINGS)
def test_files_decode_under_other_settings(coded_files, tic_file, setting):
    paths, hashes = coded_files
    environment, setup = SETTINGS[setting]
    run = subprocess.run(
        [sys.executable, "-c", DECODE.format(setup=setup), str(tic_file), *paths],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == hashes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("quality", [5, 50, 95])
def test_files_cross_between_cpu_and_gpu(codec, photo, quality):
    import promptcodec

    on_gpu = promptcodec.load(None, "cuda")
    for maker, reader in ((codec, on_gpu), (on_gpu, codec)):
        data = maker.encode(photo, quality)
        made, read = (np.asarray(c.decode(data), dtype=np.int16) for c in (maker, reader))
        assert np.abs(made - read).max() <= 1


ENCODE = """
import sys, torch, promptcodec, numpy
{setup}
photo = numpy.load(sys.argv[1])
for target in sys.argv[3:]:
    one = promptcodec.load(sys.argv[2] if target.endswith("tic.ptc") else None)
    with open(target, "wb") as file:
        file.write(one.encode(photo, None if target.endswith("tic.ptc") else 60))
"""


@pytest.mark.parametrize("setting", SETTINGS)
def test_files_encoded_under_other_settings_decode_here(tmp_path, codec, tic, tic_file, photo, setting):
    environment, setup = SETTINGS[setting]
    np.save(tmp_path / "photo.npy", photo)
    targets = [tmp_path / "shipped.ptc", tmp_path / "tic.ptc"]
    run = subprocess.run(
        [sys.executable, "-c", ENCODE.format(setup=setup), tmp_path / "photo.npy", str(tic_file), *map(str, targets)],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for one, target in zip((codec, tic), targets, strict=True):
        assert one.decode_picture(target.read_bytes()).rgb.shape == photo.shape
