"""Our layers and models against numbers computed with the authors' implementations, in float64 and float32."""

from collections.abc import Callable

import pytest
import torch
from golden import Vectors, assert_matches, assert_output_matches, mistakes, part

from promptcodec.importers.bases import from_reference
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.prior import SCALE_FLOOR, FactorizedPrior, gaussian_likelihood
from promptcodec.model.layers.blocks import Block
from promptcodec.model.layers.windows import WindowGrid, relative_index
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import BlockSteer, Gains, Prompt

Mistake = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def tic_small(vectors: Vectors) -> CompressionModel:
    return make_tic_small(vectors)


def make_tic_small(vectors: Vectors) -> CompressionModel:
    model = CompressionModel(tic(32, 48))
    model.load_state_dict(from_reference(part(vectors("tic_hp"), "param/")))
    return model.double().eval()


@pytest.mark.parametrize("name", ["tic_hp", "tic_hp_wide"])
@torch.inference_mode()
def test_tic_float64(vectors: Vectors, tic_small: CompressionModel, name: str) -> None:
    tensors = vectors(name)
    golden = part(tensors, "output/")
    x = tensors["input/x_u8"].double() / 256
    y = tic_small.g_a(x)
    assert_matches(y, golden, "y", 1e-9)
    z = tic_small.h_a(y)
    assert_matches(z, golden, "z", 1e-9)
    medians = tic_small.prior.medians
    z_symbols = (z - medians).round()
    assert_matches(z_symbols, golden, "z_symbols", 1e-9)
    scales, means = tic_small.hyper_parameters(z_symbols + medians, Gains())
    assert_matches(scales, golden, "scales", 1e-9)
    assert_matches(means, golden, "means", 1e-9)
    y_symbols = (y - means).round()
    assert_matches(y_symbols, golden, "y_symbols", 1e-9)
    assert_output_matches(tic_small(x), golden)


@torch.inference_mode()
def test_stages_float64(vectors: Vectors, tic_small: CompressionModel) -> None:
    tensors = vectors("tic_hp")
    golden, x = part(tensors, "output/"), tensors["input/x_u8"].double() / 256
    for i, layer in enumerate(tic_small.g_a.layers):
        x = layer(x)
        if i in (1, 3, 5):
            assert_matches(x, golden, f"g_a{i}", 1e-9)


@torch.inference_mode()
def test_tic_float32(vectors: Vectors, tic_small: CompressionModel) -> None:
    tensors = vectors("tic_hp")
    golden = part(tensors, "output/")
    model = CompressionModel(tic(32, 48)).eval()
    model.load_state_dict(from_reference(part(tensors, "param/", torch.float32)))
    x = tensors["input/x_u8"].float() / 256
    y = model.g_a(x)
    assert_matches(y, golden, "y", 1e-4)
    assert_matches(model.h_a(y), golden, "z", 1e-4)
    exact, medians = tic_small.g_a(x.double()), tic_small.prior.medians
    z_hat = (tic_small.h_a(exact) - medians).round() + medians
    assert_matches(z_hat, golden, "z_hat", 1e-9)
    _, exact_means = tic_small.hyper_parameters(z_hat, Gains())
    y_hat = (exact - exact_means).round() + exact_means
    assert_matches(y_hat, golden, "y_hat", 1e-9)
    scales, means = model.hyper_parameters(z_hat.float(), Gains())
    assert_matches(scales, golden, "scales", 2e-5)
    assert_matches(means, golden, "means", 2e-5)
    assert_matches(model.g_s(y_hat.float()), golden, "x_hat", 2e-5)


@pytest.mark.parametrize("shift", [0, 4])
def test_swin_layer(vectors: Vectors, shift: int) -> None:
    tensors = vectors("swin_layers")
    golden, inputs = part(tensors, "output/"), part(tensors, "input/")
    stage = config.Stage(1, config.Attention(2, 8))
    block = Block(8, stage, shift > 0, 0.0).double().eval()
    state = from_reference({f"g_a1.residual_group.blocks.0.{k}": v for k, v in part(tensors, "param/").items()})
    block.load_state_dict({k.removeprefix("g_a.layers.1.blocks.0."): v for k, v in state.items()})
    x = inputs["x"].unflatten(1, (16, 24))
    dense, shared_tokens = Prompt(inputs["prompt_map"]), Prompt(inputs["tp_prompts"])
    released = Prompt(inputs["prompt_map"], compat_mask=True)
    cases: list[tuple[str, tuple[Prompt, ...]]] = [(f"plain/shift{shift}", ()), (f"tp/shift{shift}", (shared_tokens,))]
    if shift:
        cases += [("ip/shift4/fix", (dense,)), ("ip/shift4/ref", (released,))]
    else:
        cases += [("ip/shift0", (dense,)), ("ip/shift0", (released,))]
    for name, prompts in cases:
        assert_matches(block(x, BlockSteer(prompts)).flatten(1, 2), golden, name, 1e-9)
        with torch.no_grad():
            assert_matches(block(x, BlockSteer(prompts)).flatten(1, 2), golden, name, 1e-9)


def test_window_geometry(vectors: Vectors) -> None:
    golden = part(vectors("swin_layers"), "output/")
    assert torch.equal(relative_index(8, torch.device("cpu")), golden["relative_position_index"].long())
    labels = WindowGrid(16, 24, 8, 4).labels(torch.device("cpu")).flatten(0, 1)
    blocked = labels[:, :, None] != labels[:, None, :]
    assert torch.equal(blocked, golden["mask/image_shift4"].bool())
    prompts = WindowGrid(8, 12, 4, 2).labels(torch.device("cpu")).flatten(0, 1)
    assert torch.equal(labels[:, :, None] != prompts[:, None, :], golden["mask/prompt_shift4"].bool())


def test_factorized_prior(vectors: Vectors) -> None:
    tensors = vectors("entropy_models")
    golden, inputs = part(tensors, "output/"), part(tensors, "input/")
    prior = FactorizedPrior(6).double()
    state = from_reference(part(tensors, "param/"))
    prior.load_state_dict({k.removeprefix("prior."): v for k, v in state.items()})
    x = inputs["eb.x"]
    symbols = (x - prior.medians).round()
    assert_matches(symbols, golden, "eb/symbols", 1e-9)
    assert_matches(prior.medians.flatten(), golden, "eb/medians", 0)
    assert_matches(symbols + prior.medians, golden, "eb/x_hat", 1e-12)
    assert_matches(prior.likelihood(symbols + prior.medians), golden, "eb/likelihood", 1e-11)
    noisy = inputs["eb.noisy"].requires_grad_()
    logits = prior.logits(noisy.transpose(0, 1).flatten(1)[:, None]).reshape(6, 2, 5, 7).transpose(0, 1)
    assert_matches(logits.detach(), golden, "eb/cdf_logits_at_noisy", 1e-11)
    likelihood = prior.likelihood(noisy)
    assert_matches(likelihood.detach(), golden, "eb/likelihood_at_noisy", 1e-11)
    rate = -likelihood.log2().sum()
    assert rate.item() == pytest.approx(golden["eb/rate_bits_at_noisy"].item(), abs=1e-8)
    rate.backward()
    assert noisy.grad is not None
    assert_matches(noisy.grad, golden, "eb/grad_rate_wrt_noisy", 1e-6)
    for name in ("matrices", "biases", "factors"):
        for i, parameter in enumerate(getattr(prior, name)):
            assert (parameter.grad - golden[f"eb/grad_rate_wrt.{name}.{i}"]).abs().max() < 1e-6
    prior.zero_grad()
    with torch.no_grad():
        prior.quantiles.copy_(inputs["eb.perturbed_quantiles"])
    loss = prior.quantile_loss()
    loss.backward()
    assert loss.item() == pytest.approx(golden["eb/aux_loss_at_perturbed"].item(), abs=1e-9)
    assert_matches(prior.quantiles.grad, golden, "eb/grad_aux_wrt_quantiles", 1e-9)
    assert all(p.grad is None or not p.grad.any() for n, p in prior.named_parameters() if n != "quantiles")


def test_conditional_gaussian(vectors: Vectors) -> None:
    tensors = vectors("entropy_models")
    golden, inputs = part(tensors, "output/"), part(tensors, "input/")
    y, scales, means = inputs["gc.y"], inputs["gc.scales"], inputs["gc.means"]
    residual = (y - means).round()
    assert_matches(residual, golden, "gc/symbols", 1e-9)
    assert_matches(residual + means, golden, "gc/y_hat", 1e-12)
    assert_matches(gaussian_likelihood(residual + means - means, scales), golden, "gc/likelihood", 1e-11)
    table = golden["gc/scale_table"].double()
    rows = torch.searchsorted(table, scales.clamp_min(SCALE_FLOOR)).clamp_max(63)
    assert_matches(rows, golden, "gc/indexes", 1e-9)
    noisy = inputs["gc.y_noisy"].requires_grad_()
    scales.requires_grad_()
    means.requires_grad_()
    likelihood = gaussian_likelihood(noisy - means, scales)
    assert_matches(likelihood.detach(), golden, "gc/likelihood_at_noisy", 1e-11)
    rate = -likelihood.log2().sum()
    assert rate.item() == pytest.approx(golden["gc/rate_bits_at_noisy"].item(), abs=1e-8)
    rate.backward()
    for name, tensor in (("y_noisy", noisy), ("scales", scales), ("means", means)):
        assert tensor.grad is not None
        assert_matches(tensor.grad, golden, f"gc/grad_rate_wrt_{name}", 1e-6)


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("tic_hp", mistakes.other_norm_epsilon), ("tic_hp", mistakes.tanh_gelu),
        ("tic_hp", mistakes.transposed_relative_bias), ("tic_hp", mistakes.logits_divided_by_the_token_width),
        ("tic_hp", mistakes.heads_out_of_order), ("tic_hp", mistakes.no_shifts),
        ("tic_hp", mistakes.shifted_windows_without_a_mask), ("tic_hp", mistakes.no_outer_residual),
        ("tic_hp", mistakes.means_before_scales), ("tic_hp", mistakes.scale_floor_in_double_precision),
        ("tic_hp_wide", mistakes.shifts_in_the_hyper_transforms),
    ],
)  # fmt: skip
def test_mistakes_in_the_base_are_caught(vectors: Vectors, monkeypatch, name: str, mistake: Mistake) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_tic_float64(vectors, make_tic_small(vectors), name)


@pytest.mark.parametrize(
    "mistake",
    [
        mistakes.other_norm_epsilon, mistakes.prompt_mask_in_the_other_order, mistakes.normalised_prompts,
        mistakes.prompts_that_do_not_move_with_the_windows, mistakes.shifted_windows_without_a_mask,
    ],
)  # fmt: skip
def test_mistakes_in_a_layer_are_caught(vectors: Vectors, monkeypatch, mistake: Mistake) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_swin_layer(vectors, 4)


@pytest.mark.parametrize(
    "mistake",
    [
        mistakes.scale_floor_in_double_precision, mistakes.likelihood_floor_in_double_precision,
        mistakes.bounds_without_gradients,
    ],
)  # fmt: skip
def test_mistakes_in_likelihoods_are_caught(vectors: Vectors, monkeypatch, mistake: Mistake) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_conditional_gaussian(vectors)
