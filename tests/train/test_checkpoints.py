"""Checkpoints that earlier versions wrote: they load, and the next step is the one that those versions made.

``checkpoints/NAME/checkpoint.safetensors`` was written after three steps, ``next.safetensors`` holds what a fourth one
made of model and average. Recipes in them are flat.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from promptcodec.model import config
from promptcodec.model.presets import registry as presets
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.run.checkpoint import load_checkpoint

FOLDER = Path(__file__).parent / "checkpoints"
BASE = Path(__file__).resolve().parents[1] / "conformance" / "tiny.safetensors"


def smallest() -> config.Model:
    """The model of the checkpoint ``model``."""
    local = config.Depthwise(3)
    return config.Model(
        name="smallest",
        analysis=config.Transform(3, (
            config.Resample("down", 4, 0, 4), config.Stage(1, local, residual=False),
            config.Resample("down", 4, 1, 4, zero_init=True),
        ), shortcut=16),
        synthesis=config.Transform(4, (
            config.Resample("down", 4, 1, 1), config.Resample("shuffle", 4, 1, 4),
            config.Resample("shuffle", 3, 3, 4, zero_init=True),
        ), shortcut=16),
        hyper_analysis=config.Transform(4, (config.Resample("down", 4), config.Resample("down", 4))),
        hyper_synthesis=config.Transform(4, (
            config.Resample("up", 4), config.Resample("up", 4), config.Resample("down", 8, 1, 1, zero_init=True),
        )),
        scale="log",
        gain=config.Gain(0.002, 0.05),
    )  # fmt: skip


def recipe_of(name: str, pictures: Path) -> Recipe:
    """The recipe in a checkpoint, with data and base where they are here."""
    values = load_checkpoint(FOLDER / name)["recipe"] | {"data": [str(pictures)]}
    return read_recipe(values | ({"start": str(BASE)} if values["start"] else {}), name)


@pytest.mark.parametrize("name", ["model", "adapter"])
def test_the_next_step_is_what_it_was(name: str, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(presets.PRESETS, "smallest", smallest)
    trainer = build_trainer(recipe_of(name, pictures), FOLDER / name, say=lambda _: None)
    assert trainer.begin() == "continuing at 12 samples"
    saved, state = load_checkpoint(FOLDER / name), trainer.state()
    assert state.keys() == saved.keys()
    assert (state["step"], state["samples"], state["base"]) == (3, 12, saved["base"])
    for part in ("model", "average"):
        for key, value in saved[part].items():
            assert torch.equal(state[part][key], value), key
    trainer.train_step()
    after, expected = trainer.state(), load_file(FOLDER / name / "next.safetensors")
    moved = 0
    for key, value in expected.items():
        part, _, inner = key.partition(".")
        # Processors differ in the last bits of a convolution: far less than what a step moves.
        torch.testing.assert_close(after[part][inner], value, atol=1e-6, rtol=1e-5)
        moved += bool((value - saved[part][inner]).abs().max() > 1e-5) if value.numel() else 0
    assert moved > 0.5 * len(expected)


def test_keys_of_earlier_recipes(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint's recipe has them too."""
    monkeypatch.setitem(presets.PRESETS, "smallest", smallest)
    saved = load_checkpoint(FOLDER / "adapter")["recipe"]
    assert "beside" in saved
    recipe = recipe_of("adapter", pictures)
    assert recipe.co_adapters == ()
    assert recipe.changes_since(saved) == ""
    assert "masks random to ones" in dataclasses.replace(recipe, masks="ones").changes_since(saved)
    assert read_recipe(saved | {"beside": ["a"]}, "x").co_adapters == ("a",)
