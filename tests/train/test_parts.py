"""Trainers from parts that are handed in: benchmarks exchange data, optimiser and schedule, and patch nothing."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.experiments import train_levers
from benchmarks.experiments.train_levers import Bench, CosineSchedule
from promptcodec.model.rate_distortion import mean_squared_error, rate_distortion
from promptcodec.train.losses.table import LOSSES
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.schedule import Schedule

BENCHMARKS = Path(train_levers.__file__).parent


@pytest.mark.parametrize("name", ["train_levers", "base_pairs", "portable_cost"])
def test_benchmarks_patch_nothing(name: str) -> None:
    text = (BENCHMARKS / f"{name}.py").read_text()
    assert not [word for word in ("mock", "setattr", "__dict__", "CONFIGURATIONS", "PRESETS") if word in text]


def test_levers_train_with_another_optimiser_and_schedule(recipe: Recipe, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.mkdir()
    Image.effect_noise((520, 512), 60).convert("RGB").save(large / "a.png")
    bench = Bench(dataclasses.replace(recipe, data=(str(large),), warmup=0, samples=12), str(large))
    plain, again, other, cosine = (
        bench.trainer(bench.recipe, tmp_path / str(i), *parts)
        for i, parts in enumerate([(), (), ("adam-0.95",), ("adam", "cosine")])
    )
    assert plain.data.store is other.data.store is bench.store  # decoded once
    for trainer in (plain, again, other, cosine):
        for _ in range(3):
            trainer.train_step()
    weights = [trainer.task.model.h_s.layers[0].weight for trainer in (plain, again, other, cosine)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])


def test_schedules() -> None:
    plain = Schedule(samples=1000, batch=10, warmup=100, rewarm=50, decay=0.2)
    assert [plain.rate_factor(n) for n in (0, 90, 500, 900)] == pytest.approx([0.1, 1.0, 1.0, 0.5])
    assert plain.rate_factor(500, restarted=490) == pytest.approx(20 / 50)
    cosine = CosineSchedule(samples=1000, batch=10)
    assert [cosine.rate_factor(n) for n in (0, 500)] == pytest.approx([1.0, 0.5])
    q = dataclasses.replace(plain, rates=(0.2, 0.4)).draw_rates(seed=0, step=3)
    assert torch.equal(((q - 0.2) / 0.2 * 10).floor(), torch.arange(10.0))


def test_one_measure_of_rate_and_distortion() -> None:
    torch.manual_seed(0)
    x, x_hat, weight = torch.rand(2, 3, 8, 6), torch.rand(2, 3, 8, 6), torch.rand(2, 1, 8, 6)
    likelihoods = {"y": torch.full((2, 4, 2, 2), 0.5), "z": torch.full((2, 1, 1, 1), 0.25)}
    measured = rate_distortion({"x_hat": x_hat, "likelihoods": likelihoods}, x)
    mse = 255**2 * (x - x_hat).square().mean((1, 2, 3))
    assert torch.equal(measured.bits, torch.full((2,), 18.0))
    assert torch.allclose(measured.bpp, torch.full((2,), 18 / 48))
    assert torch.allclose(measured.mse, mse)
    assert measured.psnr[0].item() == pytest.approx(10 * math.log10(255**2 / mse[0].item()), abs=1e-4)
    weighted = rate_distortion({"x_hat": x_hat, "likelihoods": likelihoods}, x, weight)
    assert torch.allclose(weighted.squared_error, (weight * (x - x_hat).square()).sum((1, 2, 3)))
    assert torch.equal(weighted.mse, mean_squared_error(x_hat, x, weight))


def test_the_table_of_losses_names_what_each_needs() -> None:
    assert {name for name, loss in LOSSES.items() if loss.features == "metric"} == {"look", "single"}
    assert {name: loss.scalar or loss.map for name, loss in LOSSES.items() if loss.scalar or loss.map} == {
        "look": "look", "quality": "quality",
    }  # fmt: skip
