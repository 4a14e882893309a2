"""LPM, SFT, beta, gain units, channel selection and quantisation steps: counts, and that they do what they are for."""

import pytest
import torch
from torch import nn

from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.nano import nano
from promptcodec.model.presets.registry import tic
from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls, constant
from promptcodec.steer.methods.beta import Beta
from promptcodec.steer.methods.channels import ChannelSelection, FeatureTransform
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.modulation import SFTLayer, SFTResidual
from promptcodec.steer.methods.quantisation_step import QuantisationStep, best_step
from promptcodec.steer.methods.sft import SFT
from promptcodec.train.losses.steering import transformed_loss

SMALL = tic(16, 32)


def count(*modules: nn.Module | None) -> int:
    return sum(p.numel() for m in modules if m is not None for p in m.parameters())


def test_counts() -> None:
    base = tic()
    lpm = LPM(base)
    seed = lpm.get_submodule("encoder.trunk.0.0")
    assert (count(seed), count(lpm.encoder), count(lpm)) == (24_609, 24_609 + 517_824, 1_427_937)
    sft = SFT(base)
    assert count(sft.analysis, sft.hyper) + 3_648_640 == 11_945_856
    assert count(sft.synthesis) + 3_862_083 == 9_593_603
    assert 14e6 < count(SFT(base, scalars=("look",))) < 15e6
    named = SFT(base, scalars=("look",), hyper=False)  # the sites of paper 000's text
    sites = {site.transform for site in named.for_encoder(
        torch.rand(1, 3, 64, 64), Controls({"look": torch.tensor([0.5])})
    ).sites}  # fmt: skip
    assert (sites, named.hyper, named.options["hyper"]) == ({"g_a"}, None, False)
    assert "hyper" not in sft.options
    assert (count(SFTLayer(128)), count(SFTLayer(192))) == (369_024, 516_608)
    assert count(SFTResidual(192)) == 1_697_152
    assert count(ChannelSelection(base)) == 111_168
    assert count(FeatureTransform(192)) == 840_064
    assert count(ChannelSelection(base, features=64)) == 111_168 + 840_064
    assert count(GainUnits(base)) == 8 * 2 * (192 + 128)
    assert count(Beta(base)) == 273_408 + 2 * (12 * 65_664 + 2 * 98_496)


@pytest.mark.parametrize("base", [SMALL, nano()], ids=lambda base: base.name)
@pytest.mark.parametrize(
    "make",
    [
        LPM,
        lambda base: SFT(base, scalars=("look",), maps=("roi",)),
        lambda base: SFT(base, residual=False),
        lambda base: Beta(base, hidden=16),
        GainUnits,
        ChannelSelection,
    ],
    ids=["lpm", "sft", "sft-plain", "beta", "gain", "channels"],
)
def test_every_parameter_learns(base, make) -> None:
    torch.manual_seed(0)
    model = CompressionModel(base).requires_grad_(False)
    adapter: Adapter = make(base)
    controls = Controls(
        {"look": torch.tensor([0.1, 0.9]), "rate": torch.tensor([0.1, 0.9])}, {"roi": torch.rand(2, 1, 65, 64)}
    )
    q = torch.tensor([0.2, 0.8]) if model.gain is not None else None
    out = model(torch.rand(2, 3, 65, 64), q, "mixed", Attached(base, [adapter], controls))
    (out["x_hat"].square().mean() + sum(-p.log2().mean() for p in out["likelihoods"].values())).backward()
    silent = [n for n, p in adapter.named_parameters() if p.grad is None]
    assert not silent


def test_channel_selection_saves_bits_and_any_decoder_opens_the_result() -> None:
    torch.manual_seed(0)
    model, x = CompressionModel(SMALL).eval(), torch.rand(1, 3, 64, 64)
    adapter = ChannelSelection(SMALL).eval()
    assert not adapter.decodes
    with torch.no_grad():
        model.g_a.layers[6].weight.mul_(20)  # type: ignore[union-attr, operator]
        masked = model(x, steering=Attached(SMALL, [adapter]))
    keep = adapter.for_hyper(model.g_a(x), Controls()).keep_y
    assert keep is not None
    assert 0 < keep.sum() < keep.numel()
    assert -masked["likelihoods"]["y"].log2().sum() < -model(x)["likelihoods"]["y"].log2().sum()


def test_a_step_brings_a_model_near_another_rate() -> None:
    torch.manual_seed(0)
    model, x = CompressionModel(SMALL).eval().requires_grad_(False), torch.rand(1, 3, 64, 64)
    model.g_a.layers[6].weight.mul_(200)  # type: ignore[union-attr, operator]
    coarse, fine = (best_step(model, x, rate_lambda) for rate_lambda in (1e-7, 1e3))
    assert 0 <= fine <= coarse <= 1
    assert coarse > 0.5


def test_quantisation_step() -> None:
    step = QuantisationStep(SMALL)
    for value, width in ((0.0, 1 / 8), (0.5, 1.0), (1.0, 8.0)):
        gains = step.gains(Controls({"step": constant(value)}))
        assert float(gains.y_inverse) == pytest.approx(width)
        assert float(gains.y) == pytest.approx(1 / width)


def test_a_transform_takes_the_place_of_the_synthesis() -> None:
    torch.manual_seed(0)
    model, x = CompressionModel(SMALL).requires_grad_(False), torch.rand(2, 3, 64, 64)
    adapter = ChannelSelection(SMALL, features=8)
    assert adapter.options == {"features": 8}
    assert adapter.transform is not None

    def recogniser(p: torch.Tensor) -> list[torch.Tensor]:
        return [nn.functional.avg_pool2d(p, 2).repeat(1, 3, 1, 1)[:, :8]]

    out = model(x, None, "mixed", Attached(SMALL, [adapter]))
    found = adapter.transform(out["y_hat"])
    transformed_loss(out, x, torch.full((2,), 0.01), found, recogniser(x)[0]).mean().backward()
    assert all(p.grad is not None for p in adapter.parameters())
    assert found.shape == (2, 8, 16, 16)
    exact = transformed_loss(out, x, torch.ones(2), found, found)
    torch.testing.assert_close(exact, rate_distortion(out, x).bpp)
