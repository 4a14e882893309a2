"""The losses that a recipe may name: what each computes, and what it needs of recipe and adapter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.quality.networks import FeatureNetwork
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.song import quality_to_lambda
from promptcodec.tasks.recogniser import Recogniser
from promptcodec.train.losses import steering as equations
from promptcodec.train.losses.distortion import Distortion
from promptcodec.train.losses.feature_balance import FeatureBalance

Features = Literal["", "metric", "distortion", "recogniser"]


@dataclass(frozen=True)
class LossInputs:
    """One batch: what the model gave (``out``) for x (B, 3, H, W), the trade-offs (B,), and the controls."""

    out: dict[str, Any]
    x: Tensor
    rate_lambda: Tensor
    controls: Controls


@dataclass(frozen=True)
class LossTerms:
    """What a run's recipe hands to its loss.

    ``distortion``: that of models. ``metric``: a perceptual one, which counts ``weight`` times. ``recogniser``: a
    frozen one, whose ``level`` an adapter's ``transform`` from ŷ stands for, where it has one, and whose levels count
    as ``balance`` says. ``stabiliser``: what the squared error counts beside a single metric, of its weight at look 0.
    """

    distortion: Distortion
    metric: equations.Distance | None = None
    weight: float = 1.0
    recogniser: FeatureNetwork | Recogniser | None = None
    balance: FeatureBalance | None = None
    level: int | None = None
    transform: Callable[[Tensor], Tensor] | None = None
    stabiliser: float = 0.0


@dataclass(frozen=True)
class Loss:
    """A loss of each sample, (B,), and its needs.

    ``features``: what the recipe's network of that name serves as; empty where it takes none. ``scalar``, ``map``:
    controls that the adapter has to take. ``rate``: what the bits per pixel count in it, one, R_λ = 0.01 / λ, or one in
    a loss that no λ scales.
    """

    compute: Callable[[LossInputs, LossTerms], Tensor]
    features: Features = ""
    scalar: str = ""
    map: str = ""
    rate: Literal["one", "R_lambda", "unscaled"] = "one"


def _distortion(batch: LossInputs, terms: LossTerms) -> Tensor:
    measured = rate_distortion(batch.out, batch.x)
    loss: Tensor = batch.rate_lambda * terms.distortion(batch.out["x_hat"], batch.x, measured.mse) + measured.bpp
    return loss


def _look(batch: LossInputs, terms: LossTerms) -> Tensor:
    assert terms.metric is not None
    look = batch.controls.scalar("look")
    return equations.look_loss(batch.out, batch.x, look, batch.rate_lambda, terms.metric, terms.weight)


def _single(batch: LossInputs, terms: LossTerms) -> Tensor:
    assert terms.metric is not None
    return equations.single_objective_loss(
        batch.out, batch.x, batch.rate_lambda, terms.metric, terms.weight, terms.stabiliser
    )


def _roi(batch: LossInputs) -> Tensor:
    return batch.controls.maps.get("roi", torch.ones_like(batch.x[:, :1]))


def _region(batch: LossInputs, _: LossTerms) -> Tensor:
    return equations.region_loss(batch.out, batch.x, batch.rate_lambda, _roi(batch))


def _relative_region(batch: LossInputs, _: LossTerms) -> Tensor:
    return equations.relative_region_loss(batch.out, batch.x, batch.rate_lambda, _roi(batch))


def _quality(batch: LossInputs, _: LossTerms) -> Tensor:
    return equations.quality_loss(batch.out, batch.x, quality_to_lambda(batch.controls.map("quality")))


def _machine(batch: LossInputs, terms: LossTerms) -> Tensor:
    out, x, recogniser, balance = batch.out, batch.x, terms.recogniser, terms.balance
    assert recogniser is not None
    assert balance is not None
    if terms.level is None or terms.transform is None:
        distance = partial(balance.distance, recogniser)
        return equations.machine_loss(out, x, batch.rate_lambda, distance, balance.weight)
    transformed, target = terms.transform(out["y_hat"]), recogniser(x)[terms.level] / balance.scales[terms.level]
    return equations.transformed_loss(out, x, batch.rate_lambda, transformed, target, balance.weight)


LOSSES: dict[str, Loss] = {
    "rate-distortion": Loss(_distortion, features="distortion"),
    "look": Loss(_look, features="metric", scalar="look", rate="R_lambda"),
    "single": Loss(_single, features="metric", rate="R_lambda"),
    "region": Loss(_region),
    "relative-region": Loss(_relative_region),
    "quality": Loss(_quality, map="quality", rate="unscaled"),
    "machine": Loss(_machine, features="recogniser"),
}
