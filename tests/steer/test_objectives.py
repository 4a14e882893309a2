"""Objectives against their equations, and random regions."""

from functools import partial

import pytest
import torch
from torch import Tensor

from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.train.data.random_region import random_region
from promptcodec.train.losses import steering as objectives
from promptcodec.train.losses.feature_balance import FeatureBalance
from promptcodec.train.losses.steering import look_loss, machine_loss, region_loss


def fake_out(x_hat: Tensor) -> dict:
    return {"x_hat": x_hat, "likelihoods": {"y": torch.full((2, 3, 2, 2), 0.5), "z": torch.full((2, 1, 1, 1), 0.25)}}


def test_equations() -> None:
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    out, bpp = fake_out(x_hat), (12 + 2) / 64
    assert torch.allclose(rate_distortion(out, x).bpp, torch.full((2,), bpp))
    mse = 255**2 * (x - x_hat).square().flatten(1).mean(1)
    rate_lambda, share = torch.tensor([0.0018, 0.0130]), torch.tensor([0.25, 1.0])

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return (a - b).abs().flatten(1).mean(1)

    d = 25 * distance(x_hat, x)
    expected = 0.01 / rate_lambda * bpp + share * d + (1 - share) * 0.01 * mse
    assert torch.allclose(look_loss(out, x, share, rate_lambda, distance, 25.0), expected)
    plain = 0.01 / rate_lambda * (bpp + rate_lambda * mse)  # the base's loss, up to the factor
    assert torch.allclose(look_loss(out, x, torch.zeros(2), rate_lambda, distance, 25.0), plain)
    single = objectives.single_objective_loss(out, x, rate_lambda, distance, 2.5, 0.1)
    assert torch.allclose(single, 0.01 / rate_lambda * bpp + d / 10 + 0.001 * mse)
    alone = objectives.single_objective_loss(out, x, rate_lambda, distance, 25)
    assert torch.allclose(alone, 0.01 / rate_lambda * bpp + d)
    roi = torch.rand(2, 1, 8, 8)
    weighted = 255**2 * (roi * (x - x_hat).square()).flatten(1).mean(1)
    assert torch.allclose(region_loss(out, x, rate_lambda, roi), rate_lambda * weighted + bpp)
    relative = objectives.relative_region_loss
    assert torch.allclose(relative(out, x, rate_lambda, 0.3 * roi), relative(out, x, rate_lambda, roi))
    whole = region_loss(out, x, rate_lambda, roi / roi.mean(dim=(1, 2, 3), keepdim=True))
    assert torch.allclose(relative(out, x, rate_lambda, roi), whole)
    assert torch.allclose(relative(out, x, rate_lambda, 0 * roi), rate_lambda * mse + bpp)
    indices = torch.tensor([0.0, 0.1685, 0.3330, 0.5009, 0.6666, 0.8334, 1.0])
    named = torch.tensor([0.0018, 0.0035, 0.0067, 0.013, 0.025, 0.0483, 0.0932])
    assert torch.allclose(objectives.index_to_lambda(indices), named, rtol=2e-3)
    assert torch.allclose(objectives.lambda_to_index(named), indices, atol=1e-3)


def test_machine_loss_clamps_before_it_recognises() -> None:
    x, x_hat = torch.rand(2, 3, 8, 8), torch.full((2, 3, 8, 8), 1.5, requires_grad=True)
    distance = partial(FeatureBalance(2, "none").distance, lambda p: [p, 2 * p])
    value = machine_loss(fake_out(x_hat), x, torch.full((2,), 0.0018), distance)
    level = (1 - x).square().flatten(1).mean(1)
    assert torch.allclose(value, 1.8 * (level + 4 * level) / 2 + 14 / 64)
    value.sum().backward()
    assert x_hat.grad is not None
    assert not x_hat.grad.any()


def test_levels_count_alike_and_as_much_as_the_squared_error() -> None:
    torch.manual_seed(2)
    crops = [torch.rand(3, 3, 8, 8) for _ in range(3)]

    def features(x: Tensor) -> list[Tensor]:
        return [100 * x, 0.01 * x[:, :1, ::2, ::2]]

    def reconstruct(x: Tensor) -> Tensor:
        return x + 0.02

    balance = FeatureBalance(2)
    balance.measure(features, crops, reconstruct)
    power = float(torch.cat(crops).square().mean().sqrt())
    assert balance.scales.tolist() == pytest.approx([100 * power, 0.01 * power], rel=0.05)
    x_hat = torch.cat(crops).clamp(0, 0.9)
    levels = [balance.distance(features, x_hat, torch.cat(crops), level) for level in (0, 1)]
    assert float(levels[0].mean()) == pytest.approx(
        float(levels[1].mean()), rel=0.5
    )  # 10^8 times as large without the scales
    # What the weight makes of the features' error is the squared error.
    x, y = crops[0].clamp(0, 0.95), crops[0].clamp(0, 0.95) + 0.02
    machine = balance.weight * balance.distance(features, y, x)
    assert float(machine.mean()) == pytest.approx(float(255**2 * (x - y).square().mean()), rel=0.1)
    stated = FeatureBalance(2, "none", 7.0)
    stated.measure(features, crops, reconstruct)
    assert (stated.scales.tolist(), float(stated.weight)) == ([1, 1], 7)


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
