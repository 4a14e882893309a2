"""A model that trains in a moment, pictures with something to learn, and a recipe for them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.model import config
from promptcodec.model.presets import registry as presets
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
    monkeypatch.setattr("promptcodec.train.start.START_CROPS", 128)
    return Recipe(
        model="tiny",
        data=(str(pictures),),
        patch=64,
        batch=4,
        samples=800,
        warmup=40,
        log_every=10,
        threads=1,
        precision="float32",
    )
