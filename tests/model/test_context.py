"""Context models against the authors' numbers, and what any schedule owes: no step may see what it must not."""

import pytest
import torch
from golden import assert_matches, mistakes, part

from promptcodec.errors import UsageError
from promptcodec.importers.bases import from_reference
from promptcodec.model import config
from promptcodec.model.base import CompressionModel, Gains
from promptcodec.model.entropy.causal import CausalContext
from promptcodec.model.entropy.context import CheckerboardConv, SpaceChannelContext, checkerboard
from promptcodec.model.entropy.prior import gaussian_likelihood
from promptcodec.model.entropy.schedule import run
from promptcodec.model.presets.papers import elic, s2c, tic_context
from promptcodec.model.presets.registry import PRESETS


@pytest.fixture(scope="module")
def causal(vectors):
    return load_causal(vectors)


def load_causal(vectors):
    """The authors' small TIC with its context, float64, and its golden tensors."""
    tensors = vectors("tic_cam")
    model = CompressionModel(tic_context(32, 48)).double().eval()
    model.load_state_dict(from_reference(part(tensors, "param/")))
    return model, part(tensors, "output/"), tensors["input/x_u8"].double() / 256


@torch.inference_mode()
def test_tic_with_context(causal):
    model, golden, x = causal
    y = model.g_a(x)
    assert_matches(y, golden, "y", 1e-9)
    z = model.h_a(y)
    assert_matches(z, golden, "z", 1e-9)
    z_hat = (z - model.prior.medians).round() + model.prior.medians
    hyper = model.h_s(z_hat)
    assert_matches(hyper, golden, "hyper", 1e-9)
    context = model.context.context(y.round())
    assert_matches(context.transpose(1, 2).unflatten(2, y.shape[2:]), golden, "cam", 1e-9)
    scales, means = model.context.in_one_pass(hyper, y.round())
    assert_matches(scales, golden, "scales", 1e-9)
    assert_matches(means, golden, "means", 1e-9)
    likelihood = gaussian_likelihood((y - means).round(), scales)
    assert_matches(likelihood, golden, "y_lik", 1e-11)
    assert_matches(model.g_s(y.round()), golden, "x_hat", 1e-9)


@torch.inference_mode()
def test_tic_coded_in_order(causal):
    """The wavefront gives what the reference's raster order gives."""
    model, golden, x = causal
    y, medians = model.g_a(x), model.prior.medians
    z_hat = (model.h_a(y) - medians).round() + medians
    assert_matches(z_hat, golden, "z_hat", 1e-9)
    found = {name: torch.zeros_like(y) for name in ("scale", "mean", "symbols")}

    def code(step):
        symbols = (y[step.where] - step.mean).round()
        for name, value in (("scale", step.scale), ("mean", step.mean), ("symbols", symbols)):
            found[name][step.where] = value
        return symbols + step.mean

    y_hat = run(model.schedule(z_hat, Gains()), code, tuple(y.shape))
    sequential = part({f"output/{k}": v for k, v in golden.items()}, "output/seq/")
    assert_matches(found["symbols"], sequential, "y_symbols", 1e-9)
    assert_matches(y_hat, sequential, "y_hat", 1e-9)
    assert_matches(found["mean"], sequential, "means", 1e-9)
    assert_matches(found["scale"], sequential, "scales", 1e-9)
    assert_matches(model.g_s(y_hat), sequential, "x_hat_unclamped", 1e-9)
    bits = -gaussian_likelihood(found["symbols"], found["scale"]).log2().sum()
    assert bits.item() == pytest.approx(golden["seq/y_bits"].item(), abs=1e-7)
    out = model(x)
    assert -out["likelihoods"]["y"].log2().sum().item() == pytest.approx(bits.item(), abs=1e-6)
    assert_matches(out["x_hat"], sequential, "x_hat_unclamped", 1e-9)


@torch.inference_mode()
def test_elic(vectors):
    tensors = vectors("elic")
    golden, x = part(tensors, "output/"), tensors["input/x_u8"].double() / 256
    model = CompressionModel(elic(24, 40, (4, 4, 8, 8, 16), (28, 16))).double().eval()
    model.load_state_dict(from_reference(part(tensors, "param/")))
    y = model.g_a(x)
    assert_matches(y, golden, "y", 1e-9)
    z = model.h_a(y)
    assert_matches(z, golden, "z", 1e-9)
    z_hat = (z - model.prior.medians).round() + model.prior.medians
    assert_matches(z_hat, golden, "z_hat", 1e-9)
    assert_matches(model.h_s(z_hat), golden, "hyper", 1e-9)
    even, odd = checkerboard(*y.shape[2:], y.device)
    steps = []

    def code(step):
        steps.append(step)
        return (y[step.where] - step.mean).round() + step.mean

    y_hat = run(model.schedule(z_hat, Gains()), code, tuple(y.shape))
    assert_matches(y_hat, golden, "y_hat", 1e-9)
    scales, means = torch.zeros_like(y), torch.zeros_like(y)
    for number, step in enumerate(steps):
        scales[step.where], means[step.where] = step.scale, step.mean
        if number % 2:
            group = step.where[1]
            anchors = torch.zeros_like(y_hat[:, group])
            anchors[:, :, even[0], even[1]] = y_hat[:, group, even[0], even[1]]
            spatial = anchors.new_zeros(1, 2 * anchors.shape[1], *anchors.shape[2:])
            for rows, cols in (even, odd):
                spatial[:, :, rows, cols] = model.context.spatial[number // 2](anchors, rows, cols).transpose(1, 2)
            assert_matches(spatial, golden, f"group{number // 2}/spatial_context", 1e-9)
        elif number:
            found = model.context.channel[number // 2 - 1](y_hat[:, : step.where[1].start].permute(0, 2, 3, 1))
            assert_matches(found.permute(0, 3, 1, 2), golden, f"group{number // 2}/channel_context", 1e-9)
    assert_matches(scales, golden, "scales", 1e-9)
    assert_matches(means, golden, "means", 1e-9)
    out = model(x)
    assert_matches(out["x_hat"], golden, "x_hat", 1e-9)
    assert_matches(out["likelihoods"]["y"], golden, "y_lik", 1e-11)
    assert_matches(out["likelihoods"]["z"], golden, "z_lik", 1e-11)


@pytest.mark.parametrize(
    "mistake",
    [
        mistakes.undecoded_tokens_left_out, mistakes.transposed_relative_bias, mistakes.tanh_gelu,
        mistakes.other_norm_epsilon,
    ],
)  # fmt: skip
def test_mistakes_with_context_are_caught(vectors, monkeypatch, mistake):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_tic_with_context(load_causal(vectors))


@pytest.mark.parametrize("mistake", [mistakes.anchors_of_the_other_colour, mistakes.taps_at_even_distance])
def test_mistakes_in_elic_are_caught(vectors, monkeypatch, mistake):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_elic(vectors)


def small_contexts():
    torch.manual_seed(0)
    yield CausalContext(32, 24, config.CausalAttention(heads=4)), 32, 24
    for kind in ("conv", "s2c"):
        cfg = config.SpaceChannel((4, 12, 16), kind, kind, (12, 8))
        yield SpaceChannelContext(24, cfg), 32, 24
    yield SpaceChannelContext(24, config.SpaceChannel((32,))), 32, 24


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 4), (3, 9), (12, 4)])
def test_every_element_once_and_only_from_what_came_before(height, width):
    for context, channels, hyper in small_contexts():
        context.double()
        features = torch.randn(2, hyper, height, width, dtype=torch.float64)
        target = torch.randn(2, channels, height, width, dtype=torch.float64)
        coded = torch.zeros_like(target)

        def code(step, target=target, coded=coded):
            assert step.scale.shape == step.mean.shape == target[step.where].shape
            coded[step.where] += 1
            return target[step.where]

        with torch.no_grad():
            assert torch.equal(run(context.steps(features), code, tuple(target.shape)), target)
        assert torch.equal(coded, torch.ones_like(coded))


def test_steps_agree_with_one_pass_where_all_is_known():
    context, channels, hyper = next(small_contexts())
    context.double()
    torch.nn.init.normal_(context.relative_bias)
    features = torch.randn(2, hyper, 5, 7, dtype=torch.float64)
    y = torch.randn(2, channels, 5, 7, dtype=torch.float64)
    scale, mean = torch.zeros_like(y), torch.zeros_like(y)

    def code(step):
        scale[step.where], mean[step.where] = step.scale, step.mean
        return y[step.where]

    with torch.no_grad():
        run(context.steps(features), code, tuple(y.shape))
        for found, expected in zip((scale, mean), context.in_one_pass(features, y), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_training_passes_reach_every_parameter():
    for context in (config.CausalAttention(heads=4), config.SpaceChannel((16, 16, 32), "s2c", "s2c", (24, 16))):
        small = s2c("small", "CIA", (1, 1, 1), (16, 16, 16), latent=64, hyper=16, groups=(16, 16, 32))
        torch.manual_seed(0)
        model = CompressionModel(config.dataclasses.replace(small, context=context))
        for mode in ("noise", "mixed"):
            model.zero_grad()
            out = model(torch.rand(2, 3, 64, 64), None, mode)
            bits = sum(-p.log2().sum() for p in out["likelihoods"].values())
            (out["x_hat"].square().mean() + bits).backward()
            missing = [n for n, p in model.named_parameters() if p.grad is None and n != "prior.quantiles"]
            assert not missing


def test_gains_do_not_change_what_a_context_sees():
    """A latent twice as large with a gain of two has the same context and twice the parameters."""
    torch.manual_seed(0)
    small = s2c("small", "CCC", (1, 1, 1), (16, 16, 16), latent=64, hyper=16, groups=(16, 16, 32))
    model = CompressionModel(small).double().eval()
    z, y = torch.randn(1, 16, 1, 2, dtype=torch.float64), torch.randn(1, 64, 4, 8, dtype=torch.float64)

    def parameters(gains, values):
        steps = []
        run(model.schedule(z, gains), lambda s: (steps.append(s), values[s.where])[1], tuple(y.shape))
        return steps

    with torch.no_grad():
        double = torch.full((1, 64, 1, 1), 2.0, dtype=torch.float64)
        for one, two in zip(parameters(Gains(), y), parameters(Gains(double), 2 * y), strict=True):
            torch.testing.assert_close(2 * one.mean, two.mean)
            torch.testing.assert_close(2 * one.scale, two.scale)


def test_checkerboard_convolution_is_the_masked_one():
    torch.manual_seed(0)
    conv = CheckerboardConv(3, 5)
    x = torch.randn(2, 3, 6, 7)
    masked = conv.weight.detach().clone()
    for row in range(5):
        for col in range(5):
            if (row + col) % 2 == 0:
                masked[:, :, row, col] = 0
    _, (rows, cols) = checkerboard(6, 7, x.device)
    whole = torch.nn.functional.conv2d(x, masked, conv.bias, padding=2)
    torch.testing.assert_close(conv(x, rows, cols), whole[:, :, rows, cols].transpose(1, 2))


def test_groups_must_be_the_latents_channels():
    with pytest.raises(UsageError, match=r"have 32 channels, y has 64"):
        CompressionModel(s2c("bad", "CCC", (1, 1, 1), (16,) * 3, latent=64, hyper=16, groups=(16, 16)))
    with pytest.raises(UsageError, match="heads that divide 30"):
        CausalContext(30, 8, config.CausalAttention(heads=4))


COUNTS = {
    "elic": "elic_official", "tic-context": "tic_cam_head", "tic-context-2023": "tic_cam_before_2024",
    "tic-hyperprior-context": "tic_hp_128_192_plus_cam", "s2c-identity": "s2c_identity", "s2c-conv": "s2c_conv",
    "s2c-attention": "s2c_attention", "s2c-hybrid-s": "s2c_hybrid_s", "s2c-hybrid-m": "s2c_hybrid_m",
    "s2c-hybrid-l": "s2c_hybrid_l", "s2c-hybrid-t": "s2c_hybrid_t",
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_counts(vectors, name):
    expected = vectors.counts()[COUNTS[name]]["params"]
    cfg = PRESETS[name]()
    assert cfg.name == name
    assert config.Model.from_json(cfg.to_json()) == cfg
    with torch.device("meta"):
        model = CompressionModel(cfg)

    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    parts = {"total": count(model), "h_a": count(model.h_a), "h_s": count(model.h_s)}
    parts["entropy_bottleneck"] = count(model.prior)
    if isinstance(model.context, SpaceChannelContext):
        parts["channel_context"] = count(model.context.channel)
        parts["spatial_context"] = count(model.context.spatial)
        parts["parameter_aggregation"] = count(model.context.aggregation)
    else:
        parts["entropy_parameters"] = count(model.context.parameters_net)
        parts["context_prediction"] = count(model.context) - parts["entropy_parameters"]
    for part_name, found in parts.items():
        if part_name in expected:
            assert found == expected[part_name], part_name
