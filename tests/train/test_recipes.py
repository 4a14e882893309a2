"""The recipes of the repository are recipes."""

from pathlib import Path

import pytest

from promptcodec.model.presets import PRESETS
from promptcodec.train.recipe import Recipe

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_it_loads_and_names_a_model(path):
    recipe = Recipe.load(path)
    assert recipe.model in PRESETS
    assert (recipe.fixed_lambda == 0) == (PRESETS[recipe.model]().gain is not None)
