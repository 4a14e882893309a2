"""Training with steering: an adapter on a frozen base, or base and adapter together, and their loss."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.quality.lpips import FeatureDistance
from promptcodec.quality.ms_ssim import ms_ssim
from promptcodec.quality.networks import FeatureNetwork
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import adapter_class, load_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.song import quality_to_lambda
from promptcodec.store.model_file import load_model
from promptcodec.store.shipped import find_model
from promptcodec.train.losses import steering as objectives
from promptcodec.train.losses.distortion import Distortion
from promptcodec.train.losses.objective import figures, rate_distortion
from promptcodec.train.recipe import Recipe


def base_network(recipe: Recipe) -> CompressionModel:
    """The base of a steered run: the model of the file ``start``, or a new one."""
    if recipe.start:
        return load_model(find_model(recipe.start)).network.requires_grad_()
    return CompressionModel(CONFIGURATIONS[recipe.model]())


def new_adapter(recipe: Recipe, base: CompressionModel) -> Adapter | None:
    """The recipe's adapter for ``base``, None where it has none.

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
        _go_on_from(recipe.start_adapter, adapter, base)
    elif recipe.neutral_start:
        adapter.start_neutral()
    if not any(True for _ in adapter.parameters()):
        raise UsageError(f"there is nothing to train: adapter {adapter.name} has no parameters")
    return adapter


def _go_on_from(path: str, adapter: Adapter, base: CompressionModel) -> None:
    """Give ``adapter`` the weights of an adapter file."""
    stored = load_adapter(path, base).adapter
    found, expected = ([one.kind, json.dumps(one.options, sort_keys=True)] for one in (stored, adapter))
    if found != expected:
        raise UsageError(
            f"start_adapter {path} is a {' '.join(found)}, this recipe's [adapter] a {' '.join(expected)}: "
            "make them the same"
        )
    adapter.load_state_dict(stored.state_dict())


class Steered(nn.Module):
    """What a steered run trains: ``adapter``, and with ``joint`` the ``base`` as well.

    The base is held outside the module in adapter training, so that its parameters are in no optimiser, average or
    checkpoint, and keep every bit; it stays in evaluation mode, without stochastic depth.
    """

    def __init__(self, base: CompressionModel, adapter: Adapter | None, joint: bool) -> None:
        super().__init__()
        self.adapter = adapter
        self._base: list[CompressionModel] = []
        if joint:
            self.base = base
        else:
            self._base.append(base.eval().requires_grad_(False))

    @property
    def network(self) -> CompressionModel:
        """The base."""
        return self._base[0] if self._base else self.base


class SteeredObjective(nn.Module):
    """Loss and figures of a batch, as ``Objective`` gives them, with steering.

    Each sample's loss is scaled so that its rate counts 0.1 / sqrt(λ), as in ``Objective``.
    """

    def __init__(self, steered: Steered, recipe: Recipe, autocast: bool = False) -> None:
        super().__init__()
        self.steered, self.recipe, self.autocast = steered, recipe, autocast
        base, adapter = steered.network, steered.adapter
        self.takes = adapter.takes if adapter is not None else set()
        self.maps = adapter.maps if adapter is not None else ()
        self.beside = tuple(load_adapter(path, base).adapter for path in recipe.beside)
        self.held = _held(recipe, base, self.takes)
        self._check()
        machine = recipe.objective == "machine"
        self.features = (
            FeatureDistance(recipe.features, recipe.feature_heads) if recipe.features and not machine else None
        )
        self.recogniser = FeatureNetwork(recipe.features) if machine else None
        self.level = self._transformed_level()
        self.distance, self.weight = self._distance()

    @property
    def asks(self) -> tuple[set[str], set[str]]:
        """Names of the scalars and of the maps that have to be drawn."""
        adapters = self.beside if self.steered.adapter is None else (*self.beside, self.steered.adapter)
        return {name for a in adapters for name in a.takes}, {name for a in adapters for name in a.maps}

    def forward(
        self, x: Tensor, q: Tensor, controls: dict[str, Tensor], beside: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """Loss to minimise, and sums for ``Meter``.

        x: (B, 3, H, W) in [0, 1]. q: (B,) in [0, 1], the rates. ``controls``: scalars (B,) and maps (B, 1, H, W) by
        name. ``beside``: which of the recipe's adapters beside are attached.
        """
        asked = Controls({k: v for k, v in controls.items() if v.dim() == 1} | {"rate": q},
                         {k: v for k, v in controls.items() if v.dim() == 4})  # fmt: skip
        base, adapter = self.steered.network, self.steered.adapter
        attached = [self.beside[i] for i in beside] + ([adapter] if adapter is not None else [])
        at = None if base.gain is None else q if self.held is None else torch.full_like(q, self.held)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            out = base(x, at, self.recipe.quantisation, Attached(base.config, attached, asked))
        out["x_hat"] = out["x_hat"].float()
        rate_lambda = self.rate_lambda(q)
        losses = self.losses(out, x, rate_lambda, asked)
        total = losses.mean()
        if base.prior.quantiles.requires_grad:
            total = total + base.prior.quantile_loss()
        return total, figures(losses, rate_distortion(out, x), q)

    def rate_lambda(self, q: Tensor) -> Tensor:
        """The trade-offs (B,) that the rates q (B,) are trained for."""
        gain = self.steered.network.gain
        if gain is not None and self.held is None:
            return gain.rate_lambda(q)
        if self.recipe.fixed_lambda:
            return torch.full_like(q, self.recipe.fixed_lambda)
        return objectives.index_to_lambda(q)

    def _check(self) -> None:
        recipe, name = self.recipe, self.recipe.objective
        if name in ("look", "single") and recipe.distortion != "ms-ssim" and not recipe.features:
            raise UsageError(f'objective {name} wants a metric: distortion = "ms-ssim", or features with feature_heads')
        if name not in ("look", "single") and recipe.distortion == "ms-ssim":
            raise UsageError(f"objective {name} knows no MS-SSIM: take objective single, or look with an adapter")
        if name == "machine" and not recipe.features:
            raise UsageError("objective machine wants a frozen recogniser, as features")
        if name == "look" and "look" not in self.asks[0]:
            raise UsageError("objective look wants an adapter that takes the scalar look")
        if recipe.masks == "ones" and not self.asks[1]:
            raise UsageError('masks = "ones" is for adapters that take a map: leave it out')
        if name == "quality" and "quality" not in self.asks[1]:
            raise UsageError("objective quality wants an adapter that takes the map quality")

    def _transformed_level(self) -> int | None:
        """The recogniser's level that an adapter's own transform from ŷ stands for, None where there is none."""
        features = self.steered.adapter.options.get("features") if self.steered.adapter is not None else None
        if self.recogniser is None or not features:
            return None
        if features not in self.recogniser.channels:
            raise UsageError(
                f"the transform gives {features} features, the recogniser's levels have {self.recogniser.channels}"
            )
        return self.recogniser.channels.index(features)

    def _distance(self) -> tuple[objectives.Distance, float]:
        """The metric beside the rate, (x_hat, x) to (B,), and paper 000's weight of it."""
        features, recipe = self.features, self.recipe
        if recipe.objective in ("look", "single"):
            if recipe.distortion == "ms-ssim":
                return _ms_ssim_distance, objectives.MS_SSIM_WEIGHT
            assert features is not None
            return features, objectives.LPIPS_WEIGHT
        distortion = Distortion(recipe.distortion, features, recipe.feature_weight)
        return lambda x_hat, x: distortion(x_hat, x, objectives.squared_error(x_hat, x)), 1.0

    def losses(self, out: dict[str, Any], x: Tensor, rate_lambda: Tensor, asked: Controls) -> Tensor:
        """The objective's loss of each sample, (B,); ``rate_lambda`` is (B,)."""
        match self.recipe.objective:
            case "look":
                look = asked.scalar("look")
                found = objectives.look_loss(out, x, look, rate_lambda, self.distance, self.weight)
            case "single":
                found = objectives.single_objective_loss(
                    out, x, rate_lambda, self.distance, self.weight, self.recipe.psnr_weight
                )
            case "region" | "relative-region" as kind:
                roi = asked.maps.get("roi", torch.ones_like(x[:, :1]))
                loss = objectives.region_loss if kind == "region" else objectives.relative_region_loss
                found = loss(out, x, rate_lambda, roi)
            case "quality":
                return objectives.quality_loss(out, x, quality_to_lambda(asked.map("quality")))
            case "machine":
                assert self.recogniser is not None
                weight = self.recipe.machine_weight
                if self.level is None:
                    found = objectives.machine_loss(out, x, rate_lambda, self.recogniser, weight)
                else:  # channel selection: features from ŷ
                    made, wanted = self.steered.adapter.transform(out["y_hat"]), self.recogniser(x)[self.level]  # type: ignore[union-attr, operator]
                    found = objectives.transformed_loss(out, x, rate_lambda, made, wanted, weight)
            case _:
                error = self.distance(out["x_hat"], x)
                found = rate_lambda * error + objectives.bits_per_pixel(out, x)
        # Where the rate's factor is not one it is R_λ = 0.01 / λ.
        unit = rate_lambda / objectives.PSNR_WEIGHT if self.recipe.objective in ("look", "single") else 1.0
        return found * unit * math.sqrt(0.01) / rate_lambda.sqrt()


def _ms_ssim_distance(x_hat: Tensor, x: Tensor) -> Tensor:
    return 1 - ms_ssim(x_hat, x)


def _held(recipe: Recipe, base: CompressionModel, takes: set[str]) -> float | None:
    """The rate that a base of variable rate is held at, None where it follows the drawn one. Raises UsageError."""
    gain = base.gain
    single = gain is None or recipe.base_lambda > 0
    if recipe.base_lambda and gain is None:
        raise UsageError(f"base_lambda is for bases of variable rate, {base.config.name} has one rate")
    if single and not recipe.fixed_lambda and "rate" not in takes and recipe.objective != "quality":
        raise UsageError("a base of one rate wants fixed_lambda, or an adapter that takes the scalar rate")
    if not single and recipe.fixed_lambda:
        raise UsageError(f"{base.config.name} has a variable rate: fixed_lambda needs base_lambda beside it")
    if gain is None or not recipe.base_lambda:
        return None
    if not gain.lambda_min <= recipe.base_lambda <= gain.lambda_max:
        raise UsageError(
            f"base_lambda is {recipe.base_lambda}, expected one of {base.config.name}'s trade-offs, "
            f"{gain.lambda_min} to {gain.lambda_max}"
        )
    return math.log(recipe.base_lambda / gain.lambda_min) / math.log(gain.lambda_max / gain.lambda_min)
