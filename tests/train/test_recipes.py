"""The recipes of the repository are recipes."""

import dataclasses
from pathlib import Path

import pytest

from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import CONFIGURATIONS, PRESETS
from promptcodec.train.new_networks import new_adapter
from promptcodec.train.recipe_file import load_recipe

FOLDER = Path(__file__).resolve().parents[2] / "recipes"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_it_loads_and_names_a_model(path):
    recipe = load_recipe(path)
    assert recipe.model in CONFIGURATIONS
    assert (recipe.fixed_lambda == 0) == (CONFIGURATIONS[recipe.model]().gain is not None)


@pytest.mark.parametrize("path", sorted((FOLDER / "steer").glob("*.toml")), ids=lambda p: p.stem)
def test_a_steered_one_makes_its_adapter(path):
    recipe = load_recipe(path)
    assert recipe.train in ("adapter", "joint")
    name = recipe.model if recipe.train == "joint" and not recipe.start else "nano" if "nano" in path.stem else "tic"
    recipe = dataclasses.replace(recipe, start_adapter="")  # a file that is still to be trained
    adapter = new_adapter(recipe, CompressionModel(PRESETS[name]()))
    assert (adapter is None) == (path.stem in ("single", "transtic-full"))
