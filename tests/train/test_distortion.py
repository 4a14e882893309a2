"""Distortions: their trade-offs, and training with them."""

import dataclasses
from pathlib import Path

import pytest
import torch

from promptcodec.train.build import build_trainer
from promptcodec.train.losses.distortion import MS_SSIM_LAMBDAS, Distortion
from promptcodec.train.recipe import Recipe


def test_the_rate_is_that_of_the_metric() -> None:
    mse_lambda = torch.tensor([0.002, 0.01, 0.05])
    assert torch.equal(Distortion("mse").rate_lambda(mse_lambda, (0.002, 0.05)), mse_lambda)
    expected = torch.tensor(
        [MS_SSIM_LAMBDAS[0], (MS_SSIM_LAMBDAS[0] * MS_SSIM_LAMBDAS[-1]) ** 0.5, MS_SSIM_LAMBDAS[-1]]
    )
    torch.testing.assert_close(Distortion("ms-ssim").rate_lambda(mse_lambda, (0.002, 0.05)), expected)


def test_a_weighted_sum_trains(recipe: Recipe, small_vgg: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, features=str(small_vgg), feature_weight=250.0)
    trainer = build_trainer(recipe, tmp_path / "run")
    trainer.begin()
    trainer.train_step()
    assert not any("features" in name for name in trainer.state()["model"])
    plain = build_trainer(dataclasses.replace(recipe, features="", feature_weight=0.0), tmp_path / "plain")
    plain.begin()
    plain.train_step()
    assert trainer.meter.read(trainer.world)["loss"] > plain.meter.read(plain.world)["loss"]


def test_ms_ssim_trains(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import tiny

    from promptcodec.model.presets import registry as presets

    big = tmp_path / "big"
    big.mkdir()
    from PIL import Image

    Image.effect_noise((200, 180), 60).convert("RGB").save(big / "a.png")
    monkeypatch.setitem(presets.PRESETS, "tiny-fixed", lambda: dataclasses.replace(tiny(), gain=None))
    changes = {"model": "tiny-fixed", "data": (str(big),), "patch": 168, "batch": 2}
    recipe = dataclasses.replace(recipe, **changes, distortion="ms-ssim", fixed_lambda=16.0)
    trainer = build_trainer(recipe, tmp_path / "run")
    trainer.begin()
    trainer.train_step()
    assert trainer.meter.read(trainer.world)["loss"] > 0
