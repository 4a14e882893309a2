"""Contextual means in the network: teacher-forced bits, zero start, what they see, bounds, gates."""

import dataclasses

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Attention, ContextualMean, Gain, Model, Resample, Stage, Transform
from promptcodec.model.entropy.contextual_mean import GRID
from promptcodec.model.entropy.schedule import run
from promptcodec.model.layers.bounded import Bounded
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.model.steering import Affine, BlockSteer, Site, Steering

HYPER = Stage(1, None, residual=False)


def tiny(gate=True, bound=6.0):
    """A model of the same kind as ``small``, with 16 channels."""
    attention = Stage(1, Attention(1, 8), residual=False, ffn="gated")
    return Model(
        name="tiny",
        analysis=Transform(
            3, (Resample("down", 16, 0, 16), attention, Resample("down", 16, 1, 1)), shortcut=16, gate=gate
        ),
        synthesis=Transform(
            16, (Resample("down", 16, 1, 1), attention, Resample("shuffle", 3, 1, 16)), shortcut=16, gate=gate
        ),
        hyper_analysis=Transform(16, (Resample("down", 8), HYPER, Resample("down", 8)), bound=64.0),
        hyper_synthesis=Transform(8, (Resample("up", 8), Resample("shuffle", 16, 1)), bound=bound),
        scale="log",
        gain=Gain(0.001, 0.1),
        context=ContextualMean(Transform(8, (Resample("up", 8), HYPER, Resample("shuffle", 16, 1))), hidden=16),
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    network = CompressionModel(tiny()).eval()
    with torch.no_grad():
        for layer in (network.context.first, network.context.out, network.context.of_scales):
            layer.weight.normal_(std=0.3)
    return network


def means(model, y, log_scale, z):
    """Means of all elements, where the decoded latent is ``y``."""
    found = torch.zeros_like(y)

    def code(step):
        found[step.where] = step.mean
        return y[step.where]

    with torch.no_grad():
        run(model.means(z, log_scale, 1.0), code, tuple(y.shape))
    return found


def test_a_step_sees_earlier_steps_only(model):
    torch.manual_seed(1)
    z, y, log_scale = torch.randn(1, 8, 2, 2), torch.randn(1, 16, 8, 8), torch.randn(1, 16, 8, 8)
    before = means(model, y, log_scale, z)
    for i, (row, column) in enumerate(GRID):
        moved = y.clone()
        moved[:, :, row::2, column::2] += 1.0
        change = (means(model, moved, log_scale, z) - before).abs()
        for j, (r, c) in enumerate(GRID):
            assert (change[:, :, r::2, c::2].max() > 0) == (j > i)


def test_every_element_is_coded_once(model):
    seen = torch.zeros(1, 16, 8, 12)
    steps = model.means(torch.randn(1, 8, 2, 3), torch.zeros(1, 16, 8, 12), 1.0)

    def code(step):
        seen[step.where] += 1
        return step.mean

    with torch.no_grad():
        run(steps, code, tuple(seen.shape))
    assert (seen == 1).all()


def test_scales_see_nothing_of_y(model):
    """Teacher-forced likelihoods of two latents: the scales are the same, whatever was decoded."""
    z = torch.randn(1, 8, 2, 2)
    gains = model.gains(torch.tensor([0.5]))
    scales = []
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        steps = []

        def code(step, steps=steps, generator=generator):
            steps.append(step.scale.clone())
            return torch.randn(step.mean.shape, generator=generator)

        with torch.no_grad():
            run(model.schedule(z, gains), code, (1, 16, 8, 8))
        scales.append(torch.cat([s.flatten() for s in steps]))
    assert torch.equal(*scales)


def test_no_gradient_of_a_mean_reaches_the_scales(model):
    z = torch.randn(1, 8, 1, 1)
    log_scale = model.log_scales(z, 1.0).requires_grad_()
    y = run(model.means(z, log_scale, 1.0), lambda step: step.mean, (1, 16, 4, 4))
    y.square().sum().backward()
    assert all(p.grad is None for p in model.h_s.parameters())


def test_training_reaches_every_parameter(model):
    model.train()
    out = model(torch.rand(2, 3, 128, 128), torch.tensor([0.2, 0.9]), "mixed")
    bits = -sum(p.log2().sum() for p in out["likelihoods"].values())
    (bits / 1e4 + out["x_hat"].square().mean()).backward()
    missing = {n for n, p in model.named_parameters() if p.grad is None and not n.startswith("prior.quantiles")}
    assert not missing


def test_bounds_hold_and_let_gradients_back_in():
    bound = Bounded(3, 2.0)
    with torch.no_grad():
        bound.centre.copy_(torch.tensor([0.0, 1.0, -4.0]))
    x = torch.tensor([[[[9.0]], [[-9.0]], [[0.5]]]], requires_grad=True)
    out = bound(x)
    assert out.flatten().tolist() == [2.0, -1.0, -3.5]
    out.sum().backward()  # descent lowers all three: only what is above or inside may move
    assert x.grad.flatten().tolist() == [1.0, 0.0, 1.0]
    with torch.no_grad():
        assert torch.equal(bound(x), out)


def test_log_scales_that_would_run_away_stay_within_their_bound(model):
    centre = model.h_s.bound.centre
    with torch.no_grad():
        for parameter in model.h_s.layers.parameters():
            parameter.mul_(1e4)
    log_scale = model.log_scales(torch.randn(1, 8, 2, 2) * 300, 1.0)
    assert (log_scale - centre[:, None, None]).abs().max() <= 6.0 + 1e-5
    out = model(torch.rand(1, 3, 64, 64) * 1e4, torch.tensor([0.5]), "round")
    assert all(torch.isfinite(p).all() and (p > 0).all() for p in out["likelihoods"].values())


def test_a_gate_starts_at_one_and_takes_steering_to_the_linear_path():
    torch.manual_seed(0)
    gated, plain = CompressionModel(tiny()), CompressionModel(tiny(gate=False))
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if ".gate." not in k})
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(gated.g_a(x), plain.g_a(x))
    assert torch.equal(gated.g_s(gated.g_a(x)), plain.g_s(plain.g_a(x)))
    with torch.no_grad():
        for layer in (gated.g_a.gate, gated.g_a.layers[-1]):
            layer.weight.normal_() if layer is gated.g_a.gate else layer.weight.zero_()
    steer = Steering({Site("g_a", 0): BlockSteer(outputs=(Affine(shift=torch.ones(1, 16, 1, 1)),))})
    moved = gated.g_a(x, steer.within("g_a")) - gated.g_a(x)
    assert moved.abs().max() > 0  # through the gate alone: the last layer is zero


def test_a_gate_without_a_shortcut_is_refused():
    broken = dataclasses.replace(tiny(), analysis=dataclasses.replace(tiny().analysis, shortcut=0))
    with pytest.raises(UsageError, match="shortcut"):
        CompressionModel(broken)


def test_a_hyper_synthesis_of_the_wrong_width_is_refused():
    wide = dataclasses.replace(tiny().hyper_synthesis, layers=(Resample("up", 8), Resample("shuffle", 32, 1)))
    with pytest.raises(UsageError, match="16 log scales"):
        CompressionModel(dataclasses.replace(tiny(), hyper_synthesis=wide))


@pytest.mark.parametrize("name", ["small", "small-linear", "small-no-means"])
def test_configurations_survive_json(name):
    cfg = CONFIGURATIONS[name]()
    assert Model.from_json(cfg.to_json()) == cfg


def test_scales_of_small_need_products_sums_and_comparisons_only():
    """Other programs have to compute them: no norm, no GELU, no division."""
    layers = CONFIGURATIONS["small"]().hyper_synthesis.layers
    assert {type(layer).__name__ for layer in layers} == {"Resample", "LeakyReLU"}
    slopes = {layer.slope for layer in layers if type(layer).__name__ == "LeakyReLU"}
    assert all(torch.tensor(slope).log2().frac() == 0 for slope in slopes)
