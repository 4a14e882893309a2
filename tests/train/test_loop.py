"""Training: what a recipe may say, a loss that falls, and resuming that changes nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.model import config, presets
from promptcodec.train.data import CropSampler, load_pictures
from promptcodec.train.linear_start import UNIT, linear_start, opponent_dct
from promptcodec.train.loop import Trainer, validate
from promptcodec.train.recipe import Recipe


def tiny() -> config.Model:
    """A model of nano's kind that trains in a moment."""
    local = config.Depthwise(3)
    return config.Model(
        name="tiny",
        analysis=config.Transform(3, (
            config.Resample("down", 8, 0, 4), config.Stage(1, local, residual=False),
            config.Resample("down", 16, 0, 4), config.Stage(2, config.Attention(2, 4), residual=False),
            config.Resample("down", 24, 1, 1, zero_init=True),
        ), shortcut=16, drop_path=0.1),
        synthesis=config.Transform(24, (
            config.Resample("down", 16, 1, 1), config.Stage(1, config.Attention(2, 4), residual=False),
            config.Resample("shuffle", 8, 1, 4),
            config.Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=config.Transform(24, (config.Resample("down", 8), config.Resample("down", 8))),
        hyper_synthesis=config.Transform(8, (
            config.Resample("up", 8), config.Stage(1, None, residual=False), config.Resample("up", 8),
            config.Resample("down", 48, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=config.Gain(0.002, 0.05),
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Smooth pictures with some noise: something to learn."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC)).astype(int)
        noisy = (smooth + rng.integers(-9, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def recipe(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny)
    return Recipe(model="tiny", data=(str(pictures),), patch=64, batch=4, samples=800, warmup=40, log_every=10)


def test_a_run_cut_in_two_equals_one_that_was_not(recipe: Recipe, tmp_path: Path) -> None:
    whole = Trainer(recipe, tmp_path / "whole")
    for _ in range(6):
        whole.train_step()
    first = Trainer(recipe, tmp_path / "parts")
    for _ in range(3):
        first.train_step()
    first.run(max_seconds=0)  # one more step, then a checkpoint
    second = Trainer(recipe, tmp_path / "parts")
    assert second.resume()
    for _ in range(2):
        second.train_step()
    assert second.step == whole.step == 6
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key]), key
    for key, value in whole.average.items():
        assert torch.equal(value, second.average[key]), key


def test_training_lowers_the_loss(recipe: Recipe, tmp_path: Path) -> None:
    trainer = Trainer(recipe, tmp_path)
    pictures = load_pictures(recipe.data)
    before = validate(trainer.model, pictures, [0.5])[0]
    trainer.run()
    assert trainer.samples == 800
    trainer.model.load_state_dict(trainer.average)
    after = validate(trainer.model, pictures, [0.5])[0]
    weight = 255**2 * trainer.model.gain.rate_lambda(torch.tensor(0.5)).item()
    cost = [row["bpp"] + weight * 10 ** (-row["psnr"] / 10) for row in (before, after)]
    assert cost[1] < 0.9 * cost[0]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 20


def test_linear_start_is_a_codec(recipe: Recipe, tmp_path: Path) -> None:
    """Before any training the shortcut alone reconstructs: it is an orthonormal transform and its transpose."""
    trainer = Trainer(recipe, tmp_path)
    x = trainer.sampler.batch(0, 4)
    y = trainer.model.g_a(x)
    basis = torch.einsum("icuv,jcuv->ij", trainer.model.g_a.shortcut.weight, trainer.model.g_a.shortcut.weight)
    torch.testing.assert_close(basis * UNIT**2, torch.eye(24), atol=1e-4, rtol=0)
    assert ((trainer.model.g_s(y) - x) ** 2).mean() < 0.2 * x.var()
    assert torch.allclose(opponent_dct(8).flatten(1) @ opponent_dct(8).flatten(1).T, torch.eye(192).double())
    with pytest.raises(UsageError, match="no linear shortcut"):
        from promptcodec.model.base import CompressionModel

        linear_start(CompressionModel(presets.tic(16, 32)), x)


def test_crops_are_a_function_of_seed_and_step(pictures: Path) -> None:
    loaded = load_pictures([pictures])
    one, two = (CropSampler(loaded, 64, 0.5, seed=1) for _ in range(2))
    assert torch.equal(one.batch(7, 4), two.batch(7, 4))
    assert not torch.equal(one.batch(7, 4), one.batch(8, 4))
    batch = one.batch(0, 4)
    assert batch.shape == (4, 3, 64, 64)
    assert batch.min() >= 0 and batch.max() <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [("patchh = 3", "unknown key"), ("patch = 'big'", "expected int"), ("patch = ", "cannot be read")],
)
def test_recipes_refuse_nonsense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        Recipe.load(path)


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no picture"):
        load_pictures([tmp_path])
    with pytest.raises(UsageError, match="neither a folder nor"):
        load_pictures([tmp_path / "missing"])


def test_a_run_goes_on_with_another_batch_and_patch(recipe: Recipe, tmp_path: Path) -> None:
    import dataclasses

    first = Trainer(recipe, tmp_path)
    first.run(max_seconds=0)
    changed = dataclasses.replace(recipe, batch=2, patch=96, decay=0.5)
    second = Trainer(changed, tmp_path)
    assert second.resume()
    assert second.samples == recipe.batch
    second.train_step()
    assert (second.step, second.samples) == (2, recipe.batch + 2)
