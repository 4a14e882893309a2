"""Contextual means: no table hangs on a mean, and what a mean's last digits do to pixels."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import make_photo
from test_context_files import codec_of, folder  # noqa: F401 (a fixture)

from promptcodec.bitstream.container import unpack
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec import picture_encoder
from promptcodec.codec.latents import CodedLatents
from promptcodec.codec.one_shot import OneShotCoder, SymbolCoder
from promptcodec.errors import FormatError
from promptcodec.model.entropy.schedule import MeanStep
from promptcodec.model.inference.exact_hyper import ExactHyper, LatentSteering
from promptcodec.model.steering import Affine, BlockSteer, Site, Steering

NAME = "tic, contextual means"
pytestmark = pytest.mark.filterwarnings("ignore:a lossless PNG")


@pytest.fixture
def codec(folder):  # noqa: F811
    return codec_of(folder, NAME)


def noisy_steps(steps, amount):
    """``steps`` with noise on their means, and on the latents that they are sent."""
    generator = torch.Generator().manual_seed(0)

    def moved(x):
        return x + amount * (2 * torch.rand(x.shape, generator=generator) - 1)

    try:
        step = next(steps)
        while True:
            y_hat = yield MeanStep(step.where, moved(step.mean))
            step = steps.send(moved(y_hat))
    except StopIteration:
        return


def test_noise_while_decoding_moves_no_symbol_and_no_pixel_by_a_level(codec, photo, monkeypatch):
    data = codec.encode(photo, 70)
    file = unpack(data)
    coded = CodedLatents(file.tiles[0].stream, file.tiles[0].offsets, file.tiles[0].checksum)
    arguments = coded, *photo.shape[:2], 0.7
    symbols, _ = codec.coder.symbols.decode(*arguments)
    clean = np.asarray(codec.decode(data)).astype(int)
    means = codec.backend.network.means
    calls = []

    def noisy(*parts):
        calls.append(parts)
        return noisy_steps(means(*parts), 1e-4)

    monkeypatch.setattr(codec.backend.network, "means", noisy)
    again, _ = codec.coder.symbols.decode(*arguments)
    assert np.array_equal(symbols.y, again.y)
    assert np.array_equal(symbols.z, again.z)
    moved = np.asarray(codec.decode(data)).astype(int)
    assert calls
    assert np.abs(moved - clean).max() <= 1


def test_symbols_are_decoded_without_means(codec, photo, monkeypatch):
    """A mean network that fails is no hindrance to the symbols, nor to ``verify``."""
    data = codec.encode(photo, 40)

    def fails(*_):
        raise AssertionError("a table was chosen after a mean")

    monkeypatch.setattr(codec.backend.network, "means", fails)
    codec.verify(data)
    with pytest.raises(AssertionError):
        codec.decode(data)


def test_what_codes_symbols_holds_no_mean_network(codec):
    held = [v for v in vars(codec.coder.symbols).values() if isinstance(v, torch.nn.Module)]
    assert not held
    hyper = codec.coder.symbols.hyper
    assert isinstance(hyper, ExactHyper)
    modules = {name for name, value in vars(hyper).items() if isinstance(value, torch.nn.Module)}
    assert modules <= {"synthesis", "gain"}
    assert hyper.context is None
    assert "scale" not in {field.name for field in dataclasses.fields(MeanStep)}
    assert isinstance(codec.coder, OneShotCoder)
    assert isinstance(codec.coder.symbols, SymbolCoder)


def test_the_checksum_is_that_of_the_symbols(codec, photo):
    data = codec.encode(photo, 50)
    tile = unpack(data).tiles[0]
    coded = CodedLatents(tile.stream, tile.offsets, tile.checksum ^ 1)
    with pytest.raises(FormatError, match="checksum"):
        codec.coder.verify(coded, *photo.shape[:2], round(0.5 * 65_535) / 65_535)


def test_decoded_latents_are_those_of_the_encoder(codec, photo):
    analysed = codec.analyse(photo)
    seen = []
    quantise = codec.coder._means

    def watched(*arguments):
        seen.append(quantise(*arguments))
        return seen[-1]

    codec.coder._means = watched
    try:
        coded = codec.coder.encode(analysed, 0.5)
        codec.coder.decode_both(coded, *photo.shape[:2], 0.5)
    finally:
        del codec.coder._means
    assert np.allclose(*seen, atol=1e-4)
    gained = analysed.y.astype(np.float64) * codec.coder.hyper.gains(0.5).y
    assert np.abs(seen[1] - gained).max() <= 0.5 + 1e-4  # a rounded residual


def test_tiles_stand_alone(codec, monkeypatch):
    """Means stop at a tile's border: a crop decodes as in the whole picture."""
    monkeypatch.setattr(picture_encoder, "tile_size", lambda *_: (256, 256))
    picture = make_photo(300, 700)
    data = codec.encode(picture, 60)
    whole = np.asarray(codec.decode(data))
    crop = Rect(256, 0, 200, 256)
    part = np.asarray(codec.decode(data, crop=crop))
    assert np.abs(part.astype(int) - whole[crop.rows, crop.columns].astype(int)).max() <= 1


@pytest.mark.parametrize("site", [Site("h_m", 0, 0), Site("h_m", 1), Site("h_m", 2, 0)])
def test_steering_of_features_and_mean_network(codec, photo, site):
    """Moves means, not scales; a decoder that is steered alike gets the encoder's latents."""
    channels = 16 if site.stage == 0 else 32 if site.stage == 1 else 24
    scale = torch.linspace(-0.5, 0.5, channels)[None, :, None, None]
    steering = Steering({site: BlockSteer(outputs=(Affine(scale, scale),))})
    steered = SimpleNamespace(latents=lambda: LatentSteering(means=lambda decoded: steering))
    analysed = codec.analyse(photo)
    with torch.no_grad():
        context = codec.backend.network.context
        for layer in (context.first, context.out):  # untrained, they are zero
            layer.weight.normal_(std=0.2)
    try:
        plain = codec.coder.quantise(analysed, 0.5)
        latents = codec.coder.quantise(analysed, 0.5, steered)
        assert (plain.steps[1][1] == latents.steps[1][1]).all()  # tables
        assert (plain.steps[1][0] != latents.steps[1][0]).any()  # symbols
        coded = codec.coder.encode(analysed, 0.5, steered)
        y_hat = codec.coder.decode_both(coded, *photo.shape[:2], 0.5, steered)[1]
        assert np.abs(y_hat - analysed.y.astype(np.float64) * codec.coder.hyper.gains(0.5).y).max() <= 0.5 + 1e-3
        with pytest.raises(AssertionError):
            other = codec.coder.decode_both(coded, *photo.shape[:2], 0.5)[1]
            np.testing.assert_allclose(other, y_hat, atol=1e-4)
    finally:
        with torch.no_grad():
            for layer in (context.first, context.out):
                layer.weight.zero_()
