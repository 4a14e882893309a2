"""The one place where a recipe is checked: whether its values fit each other, and the base that it trains on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.train.data.remote import is_remote
from promptcodec.train.losses.table import LOSSES
from promptcodec.train.recipe import Recipe


@dataclass(frozen=True)
class Base:
    """What a recipe is trained on: a model, and what the adapters on it take.

    ``scalars`` and ``maps``: those of all adapters; ``takes_rate``: whether the trained one takes the scalar rate.
    ``transformed``: channels of the features that it makes of ŷ (0: none), ``levels`` those that the recogniser has.
    """

    model: config.Model
    takes_rate: bool = False
    scalars: set[str] = field(default_factory=set)
    maps: set[str] = field(default_factory=set)
    transformed: int = 0
    levels: tuple[int, ...] = ()


def check_recipe(recipe: Recipe, name: str = "the recipe") -> None:
    """Raise UsageError, with the recipe's ``name``, where values do not fit each other or would do nothing."""
    for fault in (*_value_faults(recipe), *_train_faults(recipe), *_loss_faults(recipe)):
        raise UsageError(f"{name}: {fault}")


def check_base(recipe: Recipe, base: Base) -> None:
    """Raise UsageError where ``recipe`` does not fit the model, or the adapters, that it trains."""
    for fault in _steered_faults(recipe, base) if recipe.steers else _model_faults(recipe, base):
        raise UsageError(fault)


def _value_faults(recipe: Recipe) -> Iterator[str]:
    if recipe.model not in CONFIGURATIONS:
        yield f"unknown model {recipe.model!r}; known are {', '.join(CONFIGURATIONS)}"
    if recipe.batch % recipe.parts:
        yield f"a batch of {recipe.batch} does not divide into {recipe.parts} parts"
    if len(recipe.rates) != 2 or not 0 <= recipe.rates[0] <= recipe.rates[1] <= 1:
        yield f"rates is {list(recipe.rates)}, expected two ends in 0..1"
    if recipe.share < 1 and any(map(is_remote, recipe.data)):
        yield "a share of the pictures is taken of data at hand: of streams, give fewer shards"
    if recipe.start_lambda and not recipe.start:
        yield "start_lambda is the trade-off of the model start: give that too"


def _train_faults(recipe: Recipe) -> Iterator[str]:
    if recipe.train == "adapter" and not (recipe.adapter and recipe.start):
        yield "to train an adapter, give a table [adapter] and a base, as start"
    if recipe.start_adapter and not (recipe.start and recipe.adapter):
        yield "start_adapter wants its base, as start, and a table [adapter]"
    if not recipe.steers:
        if recipe.adapter or recipe.co_adapters or recipe.objective != "rate-distortion":
            yield '[adapter], co_adapters and objective are for train = "adapter" or "joint"'
        if recipe.base_lambda:
            yield 'base_lambda is for train = "adapter" or "joint"'
        if recipe.masks != "random":
            yield 'masks is for train = "adapter" or "joint"'


def _loss_faults(recipe: Recipe) -> Iterator[str]:
    objective, loss = recipe.objective, LOSSES[recipe.objective]
    if recipe.features and not loss.features:
        yield f"objective {objective} knows no features: leave them out"
    if loss.features == "metric":
        if recipe.features and recipe.distortion == "ms-ssim":
            yield f'objective {objective} has one metric: for features, set distortion = "mse"'
        if not recipe.features and recipe.distortion != "ms-ssim":
            yield f'objective {objective} wants a metric: distortion = "ms-ssim", or features with feature_heads'
    elif recipe.steers and recipe.distortion == "ms-ssim":
        yield f"objective {objective} knows no MS-SSIM: take objective single, or look with an adapter"
    if loss.features == "recogniser" and not recipe.features:
        yield f"objective {objective} wants a frozen recogniser, as features"
    if loss.features == "recogniser" and recipe.feature_heads:
        yield f"objective {objective} takes the features as they are: leave feature_heads out"
    if loss.features == "distortion" and recipe.features and not recipe.feature_weight:
        yield "features do nothing without a feature_weight"
    if not recipe.features and (recipe.feature_heads or recipe.feature_weight):
        yield "feature_heads and feature_weight want features"


def _model_faults(recipe: Recipe, base: Base) -> Iterator[str]:
    if (base.model.gain is None) != (recipe.fixed_lambda > 0):
        yield f"model {recipe.model} needs fixed_lambda {'> 0' if base.model.gain is None else '= 0'}"


def _steered_faults(recipe: Recipe, base: Base) -> Iterator[str]:
    objective, loss, gain, called = recipe.objective, LOSSES[recipe.objective], base.model.gain, base.model.name
    if recipe.base_lambda and gain is None:
        yield f"base_lambda is for bases of variable rate, {called} has one rate"
    one_rate = gain is None or recipe.base_lambda > 0
    if one_rate and not (recipe.fixed_lambda or base.takes_rate or loss.rate == "unscaled"):
        yield "a base of one rate wants fixed_lambda, or an adapter that takes the scalar rate"
    if not one_rate and recipe.fixed_lambda:
        yield f"{called} has a variable rate: fixed_lambda needs base_lambda besides"
    if gain is not None and recipe.base_lambda and not gain.lambda_min <= recipe.base_lambda <= gain.lambda_max:
        yield (
            f"base_lambda is {recipe.base_lambda}, expected one of {called}'s trade-offs, "
            f"{gain.lambda_min} to {gain.lambda_max}"
        )
    if loss.scalar and loss.scalar not in base.scalars:
        yield f"objective {objective} wants an adapter that takes the scalar {loss.scalar}"
    if loss.map and loss.map not in base.maps:
        yield f"objective {objective} wants an adapter that takes the map {loss.map}"
    if recipe.masks == "ones" and not base.maps:
        yield 'masks = "ones" is for adapters that take a map: leave it out'
    if base.transformed and base.levels and base.transformed not in base.levels:
        yield f"the transform gives {base.transformed} features, the recogniser's levels have {list(base.levels)}"
