"""Maps of bits and receptive fields on models whose answers are known."""

import numpy as np
import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.evaluate.map_model import (
    attention_maps,
    bit_allocation,
    channel_bits,
    plot_map,
    receptive_field,
    strongest_channel,
)
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Resample
from promptcodec.model.layers import mixers
from promptcodec.model.presets.papers import s2c, with_ngram
from promptcodec.model.presets.registry import PRESETS, tic
from promptcodec.model.steering import BlockSteer, Prompt, Steering
from promptcodec.steer.sites import sites, stages

S2C = {"blocks": (1, 2, 2), "channels": (16, 16, 16), "latent": 20, "hyper": 16, "groups": (4, 16), "hidden": (8, 8)}
BACKBONES = {
    "swin": tic(16, 32),
    "ngram": with_ngram(tic(32, 64), "ngram"),
    "s2c-hybrid": s2c("s2c-hybrid", "CAA", **S2C),
    "s2c-attention": s2c("s2c-attention", "AAA", **S2C),
}


def test_bits_add_up():
    torch.manual_seed(0)
    model = CompressionModel(PRESETS["s2c-nano"]()).eval()
    x, q = torch.rand(2, 3, 64, 130), torch.tensor([0.3, 0.8])
    bits = channel_bits(model, x, q)
    assert bits.shape == (2, 320, 4, 12)
    with torch.no_grad():
        expected = -model(x, q)["likelihoods"]["y"].log2().sum().item()
    assert bits.sum() == pytest.approx(expected, rel=1e-5)
    assert bit_allocation(bits).sum() * 320 == pytest.approx(expected, rel=1e-5)
    channel, strongest = strongest_channel(bits)
    assert strongest.shape == (2, 4, 12)
    assert strongest[1].sum() == pytest.approx(bits[1].sum(axis=(1, 2)).max())
    assert channel.dtype == np.int64


def test_receptive_field_of_a_convolution_is_its_kernel():
    conv = torch.nn.Conv2d(3, 5, 7, stride=2, padding=3)
    torch.nn.init.ones_(conv.weight)
    field = receptive_field(conv, torch.rand(2, 3, 64, 64))
    assert field.sum() == pytest.approx(49)
    assert np.argwhere(field).min(axis=0).tolist() == [29, 29]
    with pytest.raises(UsageError, match="multiples of 64"):
        receptive_field(conv, torch.rand(1, 3, 60, 64))


def test_attention_sees_further_than_its_window(tmp_path):
    torch.manual_seed(0)
    model = CompressionModel(tic(16, 32)).eval()
    field = receptive_field(model.g_a, torch.rand(1, 3, 128, 128))
    assert (field > 0).sum() > (16 * 8) ** 2 / 2
    plot_map(field, tmp_path / "field.png", "gradient")
    assert (tmp_path / "field.png").stat().st_size > 1000


def _spread_prompts(cfg, batch, size):
    """Random prompts for every block with attention: three tokens, and where windows divide so, a map."""
    sizes = {"g_a": 1, "h_a": 16, "h_s": 64, "g_s": 16}  # the input's stride in the picture
    found = {}
    for name, side in sizes.items():
        for stage in stages(cfg, name):
            for layer in (layer for layer in stage.before if isinstance(layer, Resample)):
                side = side * layer.stride if layer.kind == "down" else side // layer.stride
            for block in (block for block in stage.blocks if block.takes_tokens):
                prompts = [Prompt(torch.randn(3, block.channels))]
                if block.shift % 2 == 0:
                    places = [-(-(pixels // side) // 2) for pixels in size]
                    prompts.append(Prompt(torch.randn(batch, block.channels, *places)))
                found[block.site] = BlockSteer(tuple(prompts))
    return Steering(found)


@pytest.mark.parametrize("name", BACKBONES)
def test_attention_maps_are_what_the_attention_takes_from_prompts(name, monkeypatch):
    """Against the attention itself: of values that are one at prompts and zero elsewhere it returns their mass."""
    torch.manual_seed(0)
    model = CompressionModel(BACKBONES[name]).eval()
    x, steering = torch.rand(2, 3, 64, 128), _spread_prompts(BACKBONES[name], 2, (64, 128))
    attend, outputs = mixers.window_attention, []

    def marked(query, key, value, bias):
        prompts = torch.zeros_like(value)
        prompts[:, :, : value.shape[2] - query.shape[2]] = 1
        mass, own = attend(query, key, prompts, bias), attend(query, key, 1 - prompts, bias)
        assert torch.allclose(mass + own, torch.ones_like(mass), atol=1e-5)
        return mass

    monkeypatch.setattr(mixers, "window_attention", marked)
    for mixer in (m for m in model.modules() if isinstance(m, mixers.WindowAttention)):
        torch.nn.init.constant_(mixer.proj.weight, 1 / mixer.proj.in_features)  # the mean over heads
        torch.nn.init.zeros_(mixer.proj.bias)
        mixer.register_forward_hook(lambda mixer, inputs, output: outputs.append(output[..., 0].numpy()))
    masses = attention_maps(model, x, steering=steering)
    assert set(masses) == set(steering.sites)
    assert len(masses) == len(outputs) > 3
    for mass, output in zip(masses.values(), outputs, strict=True):
        assert mass == pytest.approx(output, abs=1e-5)
        assert 0 < mass.min() < mass.max() < 1


def test_attention_maps_without_prompts_are_zero_and_leave_nothing_behind(tmp_path):
    torch.manual_seed(0)
    model, x = CompressionModel(PRESETS["swin-nano"]()).eval(), torch.rand(1, 3, 60, 100)
    q = torch.tensor([0.5])
    with torch.no_grad():
        before = model(x, q, "round")["x_hat"]
        plain = attention_maps(model, x, q)
        assert torch.equal(model(x, q, "round")["x_hat"], before)
    assert plain
    assert all((mass == 0).all() for mass in plain.values())
    site = next(iter(plain))
    channels = next(info.channels for info in sites(model.config) if info.site == site)
    steering = Steering({site: BlockSteer((Prompt(torch.randn(4, channels), carry=True),))})
    prompted = attention_maps(model, x, q, steering)
    assert next(found for found, mass in prompted.items() if mass.any()) == site
    plot_map(prompted[site][0], tmp_path / "mass.png", "mass on prompts")
    assert (tmp_path / "mass.png").stat().st_size > 1000
