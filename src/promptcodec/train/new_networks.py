"""Make the networks that a recipe trains: a new model or a stored base, and the adapter on it."""

from __future__ import annotations

import json

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.layers.blocks import Block
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import adapter_class, load_adapter
from promptcodec.store.model_file import load_model
from promptcodec.store.shipped import find_model
from promptcodec.train.recipe import Recipe


def new_model(recipe: Recipe) -> CompressionModel:
    """Make the recipe's model, or read the base of a steered run from the file ``start``."""
    if recipe.steers and recipe.start:
        model = load_model(find_model(recipe.start)).network.requires_grad_()
    else:
        model = CompressionModel(CONFIGURATIONS[recipe.model]())
    if not recipe.stochastic_depth:
        for block in model.modules():
            if isinstance(block, Block):
                block.drop_path = 0.0
    return model


def new_adapter(recipe: Recipe, base: CompressionModel) -> Adapter | None:
    """Make the recipe's adapter for ``base``, None where it has none.

    Raises UsageError for options that do not exist and a ``start_adapter`` that is another one, and OtherBaseError
    where that is of another base.
    """
    if not recipe.adapter:
        return None
    options = dict(recipe.adapter)
    kind = options.pop("kind", "")
    try:
        adapter = adapter_class(kind)(base.config, **options)
    except TypeError as error:
        raise UsageError(f"adapter {kind} cannot be made with {options}: {error}") from None
    if recipe.start_adapter:
        _take_weights(recipe.start_adapter, adapter, base)
    elif recipe.neutral_start:
        adapter.start_neutral()
    if not any(True for _ in adapter.parameters()):
        raise UsageError(f"there is nothing to train: adapter {adapter.name} has no parameters")
    return adapter


def _take_weights(path: str, adapter: Adapter, base: CompressionModel) -> None:
    """Give ``adapter`` the weights of an adapter file."""
    stored = load_adapter(path, base).adapter
    descriptions = [f"{one.kind} {json.dumps(one.options, sort_keys=True)}" for one in (stored, adapter)]
    if descriptions[0] != descriptions[1]:
        raise UsageError(
            f"start_adapter {path} is a {descriptions[0]}, this recipe's [adapter] a {descriptions[1]}: "
            "make them the same"
        )
    adapter.load_state_dict(stored.state_dict())
