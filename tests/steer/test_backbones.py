"""Every way of steering on every backbone, through files: prompts where there is attention, the rest on all."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import make_photo
from torch import nn
from with_adapters import WithAdapters

from promptcodec.api import codec_of
from promptcodec.bitstream.container import unpack
from promptcodec.codec.codec import Codec
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import CausalAttention, Model
from promptcodec.model.layers.blocks import Stage
from promptcodec.model.presets.papers import elic, s2c, with_ngram
from promptcodec.model.presets.registry import PRESETS, song, tic
from promptcodec.model.steering import BlockSteer, Prompt, Site, Steering
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.beta import Beta
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.pyramid import look, region
from promptcodec.steer.methods.sft import SFT
from promptcodec.steer.methods.song import QualityMap
from promptcodec.steer.methods.transtic import TransTIC
from promptcodec.steer.sites import sites, stages
from promptcodec.store.model_file import load_model, save_model

S2C = {"blocks": (1, 2, 2), "channels": (16, 16, 16), "latent": 20, "hyper": 16, "groups": (4, 16), "hidden": (8, 8)}
BASES: dict[str, Model] = {
    "swin": tic(16, 32),
    "ngram": with_ngram(tic(32, 64), "ngram"),
    "s2c-hybrid": s2c("s2c-hybrid", "CAA", **S2C),
    "s2c-attention": s2c("s2c-attention", "AAA", **S2C),
    "swin-context": replace(tic(16, 32), name="swin-context", context=CausalAttention()),
    "s2c-conv": s2c("s2c-conv", "CCC", **S2C),
    "elic": elic(8, 12, (4, 8), (8, 8)),
}
ATTENTION = ("swin", "ngram", "s2c-hybrid", "s2c-attention")
PROMPTS = {
    "transtic": lambda base: TransTIC(base, width=4),
    "ip-decoder": lambda base: TransTIC(base, encoder="none", decoder="generated"),
    "look": look,
    "region": region,
    "lpm": LPM,
}
OTHERS = {
    "sft": lambda base: SFT(base, scalars=("look",)),
    "beta": lambda base: Beta(base, hidden=8),
    "gain": GainUnits,
    "channels": ChannelSelection,
}
SETTINGS = {"look": {"look": 0.7}, "sft": {"look": 0.7}, "beta": {"look": 0.7}, "gain": {"rate": 0.3}}


@pytest.fixture(scope="module", params=BASES)
def codec(request, tmp_path_factory) -> Codec:
    """An untrained model, whose latents are scaled so that symbols are not all zero."""
    torch.manual_seed(0)
    model = CompressionModel(BASES[request.param])
    last = [m for m in model.g_a.modules() if isinstance(m, nn.Conv2d)][-1]
    last.weight.data *= 20
    path = tmp_path_factory.mktemp("bases") / f"{request.param}.safetensors"
    save_model(model, path, "untrained")
    return codec_of(load_model(path))


PHOTO = make_photo(72, 100)


@pytest.mark.parametrize("kind", [*PROMPTS, *OTHERS])
def test_adapters_steer_real_files(codec: Codec, kind: str, tmp_path: Path) -> None:
    base = codec.backend.network.config
    make = (PROMPTS | OTHERS)[kind]
    if kind in PROMPTS and not any(info.takes_tokens for info in sites(base) if info.site.transform == "g_a"):
        with pytest.raises(UsageError, match=r"no stage of g_[as] of .* has attention to take prompts; steer it with"):
            make(base)
        return
    if not any(stage.blocks for stage in stages(base, "g_a")) and kind in ("sft", "beta"):
        return  # a codec of convolutions that is steered by gains and masks alone
    torch.manual_seed(1)
    adapter = make(base)
    if isinstance(adapter, GainUnits):
        nn.init.uniform_(adapter.y, 0.5, 2.0)
    for parameter in adapter.parameters():
        parameter.data *= 2
    save_adapter(adapter, codec.backend.network, tmp_path / "a.safetensors")
    steered = WithAdapters(codec, [tmp_path / "a.safetensors"])
    roi = "10,10,40,40" if kind == "region" else None
    data = steered.encode(PHOTO, settings=SETTINGS.get(kind), roi=roi)
    picture = steered.decode_picture(data).rgb  # verifies the latents' checksum
    assert picture.shape == PHOTO.shape
    plain = codec.encode(PHOTO)
    assert [a.name for a in unpack(data).adapters] == ([adapter.name] if adapter.decodes else [])
    if adapter.decodes:
        assert (picture != codec.decode_picture(plain).rgb).any()
        with pytest.raises(ModelMismatchError, match=f"needs adapter {adapter.name}"):
            codec.decode(data)
    else:
        assert unpack(data).tiles != unpack(plain).tiles
        assert (np.asarray(codec.decode(data)) == picture).all()


def test_nothing_at_every_site_changes_no_bit(codec: Codec) -> None:
    """In all four networks, with and without gradients."""
    model, x = codec.backend.network, torch.rand(1, 3, 64, 96)
    empty = {info.site: BlockSteer() for info in sites(model.config)}
    for name in ("g_a", "h_a", "h_s", "g_s"):
        empty |= {stage.output: BlockSteer() for stage in stages(model.config, name)}
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            plain, steered = model(x), model(x, steering=Steering(empty))
            assert torch.equal(plain["x_hat"], steered["x_hat"])
            for key in ("y", "z"):
                assert torch.equal(plain["likelihoods"][key], steered["likelihoods"][key])


@pytest.mark.parametrize("name", ATTENTION)
def test_prompts_act_at_every_site_that_takes_them(name: str) -> None:
    """In all four networks; and where none can go, a sentence says what, where, and what instead."""
    torch.manual_seed(0)
    model, x = CompressionModel(BASES[name]).eval(), torch.rand(1, 3, 64, 64)

    def run(steering: Steering) -> dict:
        torch.manual_seed(1)  # the same noise: rounding would hide small changes
        return model(x, None, "noise", steering)

    with torch.no_grad():
        plain = run(Steering())
        for info in sites(model.config):
            prompts = (Prompt(torch.randn(4, info.channels)),)
            if not info.takes_tokens:
                with pytest.raises(UsageError, match="takes no prompt tokens"):
                    model(x, steering=Steering({info.site: BlockSteer(prompts)}))
                continue
            out = run(Steering({info.site: BlockSteer(prompts)}))
            moved = "y" if info.site.transform == "h_s" else "z"
            pairs = [(out["x_hat"], plain["x_hat"]), (out["likelihoods"][moved], plain["likelihoods"][moved])]
            assert not all(torch.equal(a, b) for a, b in pairs), info
            with pytest.raises(UsageError, match=f"prompts of 3 channels do not fit a block of {info.channels}"):
                model(x, steering=Steering({info.site: BlockSteer((Prompt(torch.zeros(4, 3)),))}))


@pytest.mark.parametrize("name", ["ngram", "s2c-attention"])
def test_prompts_are_seen_in_their_region_on_other_backbones(name: str) -> None:
    """S2C windows never shift; N-gram attention hides other regions by -100, as Swin V2 does."""
    torch.manual_seed(0)
    stage = [m for m in CompressionModel(BASES[name]).double().eval().g_a.layers if isinstance(m, Stage)][1]
    channels, window = stage.blocks[1].mixer.proj.in_features, 8  # type: ignore[union-attr]
    shift = stage.blocks[1].mixer.shift  # type: ignore[union-attr]
    assert shift == (4 if name == "ngram" else 0)
    x = torch.randn(1, 20, 24, channels, dtype=torch.float64)
    tokens = torch.randn(1, channels, 10, 12, dtype=torch.float64, requires_grad=True)
    out = stage.blocks[1](x, BlockSteer((Prompt(tokens),)))
    for y, c in ((0, 0), (19, 23), (10, 3), (12, 17)):
        (grad,) = torch.autograd.grad(out[0, y, c].square().sum(), tokens, retain_graph=True)
        strength = grad[0].abs().sum(0)
        seen = strength > 1e-12 * strength.max()
        inside = [
            [(2 * v - shift) // window == (y - shift) // window and (2 * u - shift) // window == (c - shift) // window
             for u in range(12)] for v in range(10)
        ]  # fmt: skip
        assert seen.tolist() == inside


def test_refusals_name_the_mixer() -> None:
    hybrid = BASES["s2c-hybrid"]
    with pytest.raises(
        UsageError, match=r"g_a stage 0 of s2c-hybrid uses separable-convolution mixers, .* stages that take them: 1, 2"
    ):
        TransTIC(hybrid, encoder_stages=[0])
    model = CompressionModel(hybrid)
    with pytest.raises(UsageError, match="a block with a separable convolution as mixer takes no prompt tokens"):
        model(
            torch.rand(1, 3, 64, 64), steering=Steering({Site("g_a", 0, 0): BlockSteer((Prompt(torch.zeros(2, 16)),))})
        )


def test_quality_maps_as_files(tmp_path: Path) -> None:
    """Region coding by Song et al.: their codec with its map, and the same map as SFT on a Swin codec."""
    for cfg, make in (
        (song(16), lambda base: QualityMap(base, condition=4, hidden=8)),
        (BASES["swin"], lambda base: SFT(base, "quality", maps=("quality",))),
    ):
        torch.manual_seed(0)
        model = CompressionModel(cfg)
        last = [m for m in model.g_a.modules() if isinstance(m, nn.Conv2d)][-1]
        last.weight.data *= 20
        save_model(model, tmp_path / "m.safetensors", "untrained")
        codec = codec_of(load_model(tmp_path / "m.safetensors"))
        save_adapter(make(cfg), codec.backend.network, tmp_path / "q.safetensors")
        steered = WithAdapters(codec, [tmp_path / "q.safetensors"])
        photo = make_photo(128, 144)
        low, high = (steered.encode(photo, maps={"quality": value}) for value in ("0", "1"))
        assert low != high
        assert steered.decode_picture(high).rgb.shape == photo.shape
        with pytest.raises(UsageError, match="needs a map 'quality'"):
            steered.encode(photo)
        if cfg.name == "song":
            with pytest.raises(UsageError, match="at least 65 pixels a side"):
                steered.encode(photo[:64, :64], maps={"quality": "1"})


@pytest.mark.parametrize("name", ["tic", "tic-context", "ngram-hyper", "s2c-attention", "nano"])
def test_prompts_start_neutral_whatever_comes_first_in_a_decoder(name: str) -> None:
    """Stages and upsampling layers; only what reads ŷ begins smaller, not what reads features of the decoder."""
    base = PRESETS[name]()
    torch.manual_seed(0)
    decoder = look(base, decoder_only=True).decoder
    assert decoder is not None
    first = next(m for m in decoder.trunk.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)))
    before = first.weight.detach().clone()
    decoder.start_neutral()
    torch.testing.assert_close(first.weight, 0.1 * before)
    assert not any(p.any() for p in decoder.heads.parameters())
    if name == "nano":  # one stage takes prompts: nothing of the decoder comes before it
        return
    inside = TransTIC(base, encoder="none", decoder="generated").features
    assert inside is not None
    trunk = {key: value.clone() for key, value in inside.pyramid.trunk.state_dict().items()}
    inside.pyramid.start_neutral()
    assert all(torch.equal(value, trunk[key]) for key, value in inside.pyramid.trunk.state_dict().items())
    assert not any(p.any() for p in inside.pyramid.heads.parameters())
