"""A region by gains for every place: what it gains, what travels, and what is refused."""

import dataclasses
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from with_adapters import WithAdapters

import promptcodec
from promptcodec.bitstream.container import pack, unpack
from promptcodec.bitstream.contents import leb128
from promptcodec.errors import FormatError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import CausalAttention, Gain, SpaceChannel
from promptcodec.model.presets.registry import tic
from promptcodec.quality.psnr import psnr
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.region_gains import LARGEST, RegionGains, levels_of
from promptcodec.store.model_file import save_model

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photo.jpg"


@pytest.fixture(scope="module")
def gains(codec, tmp_path_factory) -> Path:
    """An untrained adapter of the shipped model, under a name that none in the package has."""
    path = tmp_path_factory.mktemp("gains") / "places.safetensors"
    save_adapter(RegionGains(codec.backend.network.config, "places"), codec.backend.network, path)
    return path


@pytest.fixture(scope="module")
def example() -> np.ndarray:
    return np.asarray(Image.open(EXAMPLE).convert("RGB"))[:256, :384]


def test_levels_are_relative():
    roi = torch.zeros(1, 1, 64, 128)
    roi[..., :64] = 1
    levels = levels_of(Controls({"background": torch.tensor([0.25])}, {"roi": roi}))
    assert levels.shape == (1, 1, 4, 8)
    assert levels[0, 0, 0].tolist() == [4] * 4 + [-4] * 4  # an octave of gains apart, where weights are two
    assert levels_of(Controls(maps={"roi": torch.full((2, 1, 40, 70), 0.3)})).eq(0).all()
    black = levels_of(Controls({"background": torch.zeros(1)}, {"roi": roi}))
    assert black.abs().max() <= LARGEST


def test_a_region_is_better_at_the_same_size(gains, example):
    left, top, side = 96, 64, 128
    inside = (slice(top, top + side), slice(left, left + side))
    plain = promptcodec.encode(example, 40)
    asked = {"adapters": [gains], "roi": f"{left},{top},{side},{side}"}
    steered = promptcodec.encode(example, target_size=len(plain), **asked)
    assert 0.99 * len(plain) <= len(steered) <= len(plain)
    before, after = (np.asarray(promptcodec.decode(data, adapters=[gains])) for data in (plain, steered))
    assert psnr(example[inside], after[inside]) > psnr(example[inside], before[inside]) + 1.5
    gentle = promptcodec.encode(example, target_size=len(plain), settings={"background": 0.5}, **asked)
    milder = np.asarray(promptcodec.decode(gentle, adapters=[gains]))
    assert psnr(example[inside], before[inside]) < psnr(example[inside], milder[inside])
    assert psnr(example[inside], milder[inside]) < psnr(example[inside], after[inside])
    with pytest.raises(UsageError, match="needs a map 'roi'"):
        promptcodec.encode(example, adapters=[gains])


def test_an_effort_cares_for_the_region(codec, gains):
    """Its files cost less where errors are weighted as the region says, which an even effort does not see."""
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB").resize((192, 128), Image.Resampling.LANCZOS))
    asked = {"adapters": [gains], "roi": "64,32,64,64"}
    (record,) = unpack(promptcodec.encode(picture, 40, **asked)).adapters
    adapter = RegionGains(codec.backend.network.config)
    weight = adapter.importance(adapter.read(record.signal))[0, 0].repeat_interleave(16, 0).repeat_interleave(16, 1)
    rate_lambda = float(codec.backend.network.gain.rate_lambda(torch.tensor([0.4])))

    def cost(data: bytes) -> float:
        error = np.asarray(promptcodec.decode(data, adapters=[gains])).astype(float) - picture
        return rate_lambda * float((weight[..., None].numpy() * error**2).mean()) + 8 * len(data) / (192 * 128)

    plain, refined = (promptcodec.encode(picture, 40, effort=effort, **asked) for effort in (0, 6))
    assert cost(refined) < 0.995 * cost(plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RegionGains, "importance", lambda *_: None)
        even = promptcodec.encode(picture, 40, effort=6, **asked)
    assert cost(refined) < 0.995 * cost(even)


def test_tiles_take_their_part_of_the_map(codec, gains, example, monkeypatch):
    asked = {"adapters": [gains], "roi": "200,20,100,150"}
    whole = promptcodec.encode(example, 40, **asked)
    monkeypatch.setattr("promptcodec.codec.picture_encoder.tile_size", lambda *_: (256, 256))
    data = promptcodec.encode(example, 40, **asked)
    assert promptcodec.info(data).tiles == 2
    one, two = (np.asarray(promptcodec.decode(d, adapters=[gains])) for d in (whole, data))
    assert psnr(one, two) > 45
    part = np.asarray(promptcodec.decode(data, adapters=[gains], crop=(260, 30, 90, 40)))
    assert (part == two[30:70, 260:350]).all()
    refined = promptcodec.encode(example[:128], 40, effort=1, **asked)
    assert promptcodec.decode(refined, adapters=[gains]).size == (384, 128)


@pytest.mark.parametrize("context", [None, SpaceChannel((8, 24), hidden=(24, 16)), CausalAttention(heads=8)])
@pytest.mark.parametrize("gain", [None, Gain(0.001, 0.1)])
def test_every_entropy_model_and_rate(context, gain, tmp_path, photo):
    """What a file decodes to is what a forward pass with the same map makes."""
    torch.manual_seed(0)
    base = tic(32, 32)
    hyper, last = base.hyper_synthesis, base.hyper_synthesis.layers[-1]
    layers = (*hyper.layers[:-1], dataclasses.replace(last, channels=2 * base.latent_channels))
    base = dataclasses.replace(
        base, name="t", hyper_synthesis=dataclasses.replace(hyper, layers=layers), context=context, gain=gain
    )
    network = CompressionModel(base).eval()
    with torch.no_grad():  # so that there is something to code
        [m for m in network.g_a.modules() if isinstance(m, torch.nn.Conv2d)][-1].weight.mul_(100)
    adapter = RegionGains(base)
    torch.nn.init.uniform_(adapter.y, 0.5, 1.5)
    torch.nn.init.uniform_(adapter.y_inverse, 0.5, 1.5)
    save_model(network, tmp_path / "m.safetensors", "0")
    codec = promptcodec.load(tmp_path / "m.safetensors")
    save_adapter(adapter, codec.backend.network, tmp_path / "a.safetensors")
    ours = WithAdapters(codec, [tmp_path / "a.safetensors"])
    picture = photo[:64, :128]
    roi = torch.zeros(1, 1, 64, 128)
    roi[..., 70:] = 1
    data = ours.encode(picture, 60 if gain else None, roi=roi)
    decoded = ours.decode_picture(data).rgb
    ours.verify(data)
    x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        steering = Attached(base, [ours.adapters[0].adapter], Controls(maps={"roi": roi}))
        out = codec.backend.network(x, torch.tensor([0.6]) if gain else None, "round", steering)
    expected = (out["x_hat"][0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(decoded - expected).mean() < 0.5
    assert unpack(data).tiles != unpack(ours.encode(picture, 60 if gain else None, roi=1 - roi)).tiles


def test_damaged_maps_are_refused(codec, gains, example):
    data = unpack(promptcodec.encode(example, 10, adapters=[gains], roi="0,0,64,64"))
    (record,) = data.adapters
    adapter = RegionGains(codec.backend.network.config)
    levels = adapter.read(record.signal).maps["levels"]
    assert levels.shape == (1, 1, 16, 24)
    size = leb128(16) + leb128(24)
    whole = zlib.compress(bytes([LARGEST]) * (16 * 24))
    assert adapter.read(size + whole).maps["levels"].eq(0).all()
    for signal, message in (
        (b"", "ends inside a number"),
        (leb128(0) + leb128(24) + whole, "has 0 x 24 places"),
        (leb128(2**20) + leb128(2**20) + whole, "has 1048576 x 1048576 places"),
        (leb128(16) + leb128(23) + whole, "expected 16 x 23 values"),
        (leb128(16) + leb128(23) + zlib.compress(bytes([LARGEST]) * (16 * 23)), "expected multiples of 4"),
        (leb128(16) + leb128(28) + whole, "expected 16 x 28 values"),
        (leb128(16) + leb128(20) + whole, "expected 16 x 20 values"),
        (size + whole[:-3], "expected 16 x 24 values"),
        (size + whole + b"x", "expected 16 x 24 values"),
        (size + b"x" + whole, "is damaged"),
        (size + zlib.compress(bytes([2 * LARGEST + 1]) * (16 * 24)), "levels up to 49"),
    ):
        with pytest.raises(FormatError, match=message):
            adapter.read(signal)
    small = leb128(16) + leb128(16) + zlib.compress(bytes([LARGEST]) * (16 * 16))
    changed = dataclasses.replace(data, adapters=(dataclasses.replace(record, signal=small),))
    with pytest.raises(FormatError, match="map of adapter places is smaller than the picture"):
        promptcodec.decode(pack(changed), adapters=[gains])
    swapped = dataclasses.replace(data, adapters=(dataclasses.replace(record, signal=size + whole),))
    with pytest.raises(FormatError):  # other gains than those that were coded with
        promptcodec.decode(pack(swapped), adapters=[gains])
