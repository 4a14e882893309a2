"""Paper 003's codec whole: rate and region by Kao et al.'s prompts on an N-gram base, context limited to the region."""

import dataclasses

import pytest
import torch
from with_adapters import WithAdapters

import promptcodec
from promptcodec.bitstream.container import unpack
from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.papers import with_ngram
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import Steering
from promptcodec.steer.adapter_file import load_adapter, save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.pyramid import Pyramid, rate_and_region
from promptcodec.store.model_file import save_model

BASE = with_ngram(tic(32, 32), "ngram-small")


@pytest.fixture(scope="module")
def parts():
    torch.manual_seed(0)
    network, adapter = CompressionModel(BASE).eval(), rate_and_region(BASE, masked_context=True)
    for parameter in (*network.h_s.parameters(), *adapter.parameters()):
        parameter.data.mul_(3.0)  # so that fresh ones move symbols
    return network, adapter


def test_files_with_rate_and_region(parts, tmp_path, photo):
    network, adapter = parts
    save_model(network, tmp_path / "base.safetensors", "untrained")
    save_adapter(adapter, network, tmp_path / "kao.safetensors")
    codec = promptcodec.load(tmp_path / "base.safetensors")
    steered = WithAdapters(codec, [tmp_path / "kao.safetensors"])
    files = {
        (rate, roi): steered.encode(photo, settings={"rate": rate}, roi=roi)
        for rate in (0.1, 0.9) for roi in ("0,0,64,64", "64,64,64,64")
    }  # fmt: skip
    assert len({unpack(data).tiles[0].stream for data in files.values()}) == 4
    for data in files.values():
        (record,) = unpack(data).adapters
        assert len(record.signal) == 2  # the rate; neither the region nor its mask travels
        assert steered.decode_picture(data).rgb.shape == photo.shape


def test_the_context_acts_where_the_region_is(parts):
    network, adapter = parts
    x, roi = torch.rand(1, 3, 128, 128), torch.zeros(1, 1, 128, 128)
    roi[..., :64] = 1
    controls = Controls({"rate": torch.tensor([0.5])}, {"roi": roi})
    steer = adapter.for_encoder(x, controls)
    assert torch.equal(steer.region, roi)
    assert Steering().then(steer).region is steer.region
    assert torch.equal(steer.then(dataclasses.replace(steer, region=roi / 2)).region, roi / 2)
    anywhere = Pyramid(BASE, scalars=("rate",), maps=("roi",))
    anywhere.load_state_dict(adapter.state_dict())
    with torch.no_grad():
        masked, free = (network.analyse(x, Attached(BASE, [a], controls))[0] for a in (adapter, anywhere))
        assert not torch.equal(masked, free)
        controls = Controls({"rate": torch.tensor([0.5])}, {"roi": torch.ones(1, 1, 128, 128)})
        masked, free = (network.analyse(x, Attached(BASE, [a], controls))[0] for a in (adapter, anywhere))
        assert torch.equal(masked, free)


def test_it_trains_jointly_to_its_last_parameter(parts):
    network, adapter = parts
    roi = torch.rand(2, 1, 64, 64)
    controls = Controls({"rate": torch.tensor([0.2, 0.7])}, {"roi": roi})
    out = network(torch.rand(2, 3, 64, 64), None, "noise", Attached(BASE, [adapter], controls))
    bits = sum(-p.log2().sum() for p in out["likelihoods"].values())
    (bits + out["x_hat"].square().sum()).backward()
    contexts = [name for name, _ in network.named_parameters() if ".ngram." in name]
    assert len(contexts) > 100
    missing = [n for n, p in [*network.named_parameters(), *adapter.named_parameters()] if p.grad is None]
    assert missing == ["prior.quantiles"]
    network.zero_grad()
    adapter.zero_grad()


def test_the_option_survives_a_file_and_refuses(parts, tmp_path):
    network, adapter = parts
    save_adapter(adapter, network, tmp_path / "kao.safetensors")
    assert load_adapter(tmp_path / "kao.safetensors", network).adapter.context_in == "roi"
    with pytest.raises(UsageError, match="tic has no such context"):
        rate_and_region(tic(32, 32), masked_context=True)
    with pytest.raises(UsageError, match="the maps are none"):
        Pyramid(BASE, scalars=("rate",), context_in="roi")
