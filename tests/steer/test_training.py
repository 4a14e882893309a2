"""Objectives against their equations, random regions, and what training may touch."""

import hashlib

import pytest
import torch
from torch import Tensor

from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets import tic
from promptcodec.steer import objectives
from promptcodec.steer.adapter_file import base_fingerprint, load_adapter, save_adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.editing import QuantisationStep
from promptcodec.steer.fit import Sample, fit, trainable
from promptcodec.steer.objectives import look_loss, machine_loss, region_loss
from promptcodec.steer.pyramid import look, region
from promptcodec.steer.random_region import random_region
from promptcodec.steer.transtic import TransTIC

SMALL = tic(16, 32)


def fake_out(x_hat: Tensor) -> dict:
    return {"x_hat": x_hat, "likelihoods": {"y": torch.full((2, 3, 2, 2), 0.5), "z": torch.full((2, 1, 1, 1), 0.25)}}


def test_equations() -> None:
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    out, bpp = fake_out(x_hat), (12 + 2) / 64
    assert torch.allclose(objectives.bits_per_pixel(out, x), torch.full((2,), bpp))
    mse = 255**2 * (x - x_hat).square().flatten(1).mean(1)
    rate_lambda, share = torch.tensor([0.0018, 0.0130]), torch.tensor([0.25, 1.0])

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().flatten(1).mean(1)

    d = 25 * distance(x_hat, x)
    expected = (0.01 / rate_lambda * bpp + share * d + (1 - share) * 0.01 * mse).mean()
    assert torch.allclose(look_loss(out, x, share, rate_lambda, distance, 25.0), expected)
    plain = (0.01 / rate_lambda * (bpp + rate_lambda * mse)).mean()  # the base's loss, up to the factor
    assert torch.allclose(look_loss(out, x, torch.zeros(2), rate_lambda, distance, 25.0), plain)
    single = objectives.single_objective_loss(out, x, rate_lambda, distance, 2.5)
    assert torch.allclose(single, (0.01 / rate_lambda * bpp + d / 10 + 0.001 * mse).mean())
    roi = torch.rand(2, 1, 8, 8)
    weighted = 255**2 * (roi * (x - x_hat).square()).flatten(1).mean(1)
    assert torch.allclose(region_loss(out, x, rate_lambda, roi), (rate_lambda * weighted + bpp).mean())
    indices = torch.tensor([0.0, 0.1685, 0.3330, 0.5009, 0.6666, 0.8334, 1.0])
    named = torch.tensor([0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932])
    assert torch.allclose(objectives.index_to_lambda(indices), named, rtol=2e-3)
    assert torch.allclose(objectives.lambda_to_index(named), indices, atol=1e-3)
    drawn = objectives.stratified(8)
    assert (drawn * 8).floor().tolist() == list(range(8))


def test_machine_loss_clamps_before_it_recognises() -> None:
    x, x_hat = torch.rand(2, 3, 8, 8), torch.full((2, 3, 8, 8), 1.5, requires_grad=True)
    value = machine_loss(fake_out(x_hat), x, 0.0018, lambda p: [p, 2 * p])
    level = (1 - x).square().mean()
    assert torch.allclose(value, 1.8 * (level + 4 * level) / 2 + 14 / 64)
    value.backward()
    assert x_hat.grad is not None
    assert not x_hat.grad.any()


def test_random_regions() -> None:
    generator = torch.Generator().manual_seed(0)
    regions = [random_region(40, 60, generator=generator) for _ in range(200)]
    for found in regions:
        assert found.shape == (1, 40, 60)
        assert 0 <= found.min() <= found.max() <= 1
    constant = sum(bool((r == r[0, 0, 0]).all()) for r in regions)
    assert 20 < constant < 70
    objects = torch.zeros(2, 40, 60)
    objects[0, :10], objects[1, :, :10] = 1, 1
    for _ in range(30):
        assert random_region(40, 60, objects, generator).shape == (1, 40, 60)
    assert random_region(4, 6, torch.zeros(0, 4, 6), torch.Generator().manual_seed(3)).shape == (1, 4, 6)


def digest(model: CompressionModel) -> str:
    state = model.state_dict()
    return hashlib.sha256(b"".join(state[k].numpy().tobytes() for k in sorted(state))).hexdigest()


def batches(step: int) -> Sample:
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(2, 3, 64, 64, generator=generator)
    roi = torch.stack([random_region(64, 64, generator=generator) for _ in range(2)])
    return Sample(x, Controls({"look": objectives.stratified(2, generator)}, {"roi": roi}))


@pytest.mark.parametrize("make", [region, look, TransTIC])
def test_adapter_training_leaves_every_bit_of_the_base(make, tmp_path) -> None:
    torch.manual_seed(0)
    model = CompressionModel(SMALL)
    before, adapter = digest(model), make(SMALL)
    start = {k: v.clone() for k, v in adapter.named_parameters()}
    losses: list[float] = []

    def loss(out, sample):
        return region_loss(out, sample.x, torch.full((2,), 0.01), sample.controls.map("roi"))

    fit(model, [adapter], batches, loss, 3, learning_rate=1e-3, report=lambda _, value: losses.append(value))
    assert digest(model) == before
    assert len(losses) == 3
    moved = [k for k, v in adapter.named_parameters() if not torch.equal(v, start[k])]
    assert len(moved) > 0.9 * len(start)
    save_adapter(adapter, model, tmp_path / "a.safetensors")
    assert load_adapter(tmp_path / "a.safetensors", model).adapter.kind == adapter.kind


def test_joint_training_makes_a_new_base(tmp_path) -> None:
    torch.manual_seed(0)
    model, adapter = CompressionModel(SMALL), look(SMALL)
    save_adapter(adapter, model, tmp_path / "before.safetensors")
    before = base_fingerprint(model)

    def loss(out, sample):
        return look_loss(
            out, sample.x, sample.controls.scalar("look"), torch.full((2,), 0.01),
            lambda a, b: (a - b).abs().flatten(1).mean(1), 25.0,
        )  # fmt: skip

    fit(model, [adapter], batches, loss, 2, how="joint", learning_rate=1e-3)
    assert base_fingerprint(model) != before
    save_adapter(adapter, model, tmp_path / "after.safetensors")
    load_adapter(tmp_path / "after.safetensors", model)
    with pytest.raises(ModelMismatchError, match="train the adapter anew"):
        load_adapter(tmp_path / "before.safetensors", model)


def test_what_cannot_be_trained() -> None:
    model = CompressionModel(SMALL)
    with pytest.raises(UsageError, match="nothing to train: step has no parameters"):
        trainable(model, [QuantisationStep(SMALL)], "adapter")
    with pytest.raises(UsageError, match='"adapter" or "joint", not \'both\''):
        trainable(model, [look(SMALL)], "both")  # type: ignore[arg-type]
