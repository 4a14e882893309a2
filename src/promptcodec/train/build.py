"""Build a trainer's parts from a recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.inference.precision import autocast_pays
from promptcodec.quality.lpips import FeatureDistance
from promptcodec.quality.ms_ssim import ms_ssim
from promptcodec.quality.networks import FeatureNetwork
from promptcodec.steer.adapter_file import load_adapter
from promptcodec.tasks.recogniser import Recogniser
from promptcodec.tasks.registry import is_recogniser, open_recogniser
from promptcodec.train.check import Base, check_base, check_recipe
from promptcodec.train.data.control_sampler import ControlSampler
from promptcodec.train.data.crops import Store
from promptcodec.train.data.pictures import PictureStore
from promptcodec.train.data.remote import is_remote
from promptcodec.train.data.stream import StreamedStore
from promptcodec.train.data.training_data import TrainingData
from promptcodec.train.loop import Trainer
from promptcodec.train.losses import steering as equations
from promptcodec.train.losses.distortion import Distortion
from promptcodec.train.losses.feature_balance import FeatureBalance
from promptcodec.train.losses.objective import Objective
from promptcodec.train.losses.table import LOSSES, LossTerms
from promptcodec.train.new_networks import new_adapter, new_model
from promptcodec.train.optimiser import MakeOptimiser, Optimiser, adam
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.distributed import World
from promptcodec.train.run.schedule import Schedule
from promptcodec.train.steered import Steered, SteeredObjective
from promptcodec.train.steering_task import SteeringTask
from promptcodec.train.task import ModelTask, Task
from promptcodec.train.training_run import Run

Say = Callable[[str], None]


def build_trainer(
    recipe: Recipe,
    folder: Path,
    portable: Path | None = None,
    world: World | None = None,
    say: Say = print,
) -> Trainer:
    """Build the trainer that a recipe describes; ``folder`` holds log and checkpoint.

    ``portable``: a folder that gets a copy in two bytes a weight with every checkpoint, and that the run starts from
    where ``folder`` has no checkpoint. ``say`` tells people what they should know. Raises UsageError where the recipe
    makes no sense.
    """
    world = world or World()
    say = say if world.leads else _nobody_listens
    run = Run(recipe, folder, portable, say)
    schedule = build_schedule(recipe, world)
    device = world.device(recipe.device)
    task = build_task(recipe, device, say)
    data = build_data(recipe, device, say)
    return Trainer(task, data, build_optimiser(recipe, task), schedule, run, world)


def build_schedule(recipe: Recipe, world: World | None = None) -> Schedule:
    """Build the schedule of a run in so many processes. Raises UsageError where they cannot share out a batch."""
    parts = (world or World()).parts(recipe.parts)
    if recipe.batch % parts:
        raise UsageError(f"a batch of {recipe.batch} does not divide into {parts} parts")
    return Schedule(
        samples=recipe.samples, batch=recipe.batch, parts=parts, warmup=recipe.warmup, rewarm=recipe.rewarm,
        decay=recipe.decay, ema=recipe.ema, rates=(recipe.rates[0], recipe.rates[1]),
    )  # fmt: skip


def build_data(recipe: Recipe, device: torch.device, say: Say = print) -> TrainingData:
    """Build the source of a run's crops; nothing is read yet."""

    def open_store(state: dict[str, Any] | None, samples: int) -> Store:
        memory = int(recipe.memory * 2**30) if recipe.memory else None
        store: PictureStore | StreamedStore
        if any(map(is_remote, recipe.data)):
            store = StreamedStore(recipe.data, recipe.patch, device, memory, recipe.reuse, recipe.seed, say)
        else:
            store = PictureStore(recipe.data, recipe.patch, device, memory, recipe.reuse, say, recipe.share)
        if state is not None:
            store.restore(state, samples)
        else:
            store.fill(samples)
        return store

    return TrainingData(
        open_store, recipe.patch, recipe.min_scale, recipe.seed, recipe.watch, say, recipe.crops == "plain",
        recipe.transposed,
    )  # fmt: skip


def build_optimiser(recipe: Recipe, task: Task, make: MakeOptimiser = adam) -> Optimiser:
    """Build what steps the networks of ``task``; ``make``: another optimiser than Adam."""
    return Optimiser(task.trained, recipe.learning_rate, recipe.shortcut_rate, recipe.clip, make)


def build_task(recipe: Recipe, device: torch.device, say: Say = print) -> Task:
    """Build networks and loss, with random weights drawn from the recipe's seed.

    Sets how many threads PyTorch uses, and on GPUs its precision. Raises UsageError where the recipe makes no sense.
    """
    check_recipe(recipe)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    model = channels_last(new_model(recipe).to(device))
    autocast, why = autocast_pays(recipe.precision, device)
    say(f"training on {device}, {why}")
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    if recipe.steers:
        return _steering_task(recipe, model, device, autocast)
    check_base(recipe, Base(model.config))
    distortion = _distortion(recipe, device)
    objective = Objective(model, distortion, recipe.quantisation, recipe.fixed_lambda, autocast, recipe.sample_weights)
    return ModelTask(model, objective, recipe.start, recipe.start_lambda, recipe.linear_start)


def _steering_task(recipe: Recipe, model: CompressionModel, device: torch.device, autocast: bool) -> SteeringTask:
    adapter = new_adapter(recipe, model)
    terms = _loss_terms(recipe, device)
    steered = channels_last(Steered(model, adapter, recipe.train == "joint", terms.balance).to(device))
    co_adapters = [load_adapter(path, model).adapter.to(device) for path in recipe.co_adapters]
    adapters = co_adapters if adapter is None else [*co_adapters, adapter]
    scalars = {name for each in adapters for name in each.takes}
    maps = {name for each in adapters for name in each.maps}
    transformed = adapter.options.get("features", 0) if adapter is not None and terms.recogniser is not None else 0
    levels = tuple(terms.recogniser.channels) if terms.recogniser is not None else ()
    takes_rate = adapter is not None and "rate" in adapter.takes
    check_base(recipe, Base(model.config, takes_rate, scalars, maps, transformed, levels))
    if transformed:
        transform: Any = adapter.transform  # type: ignore[union-attr]
        terms = dataclasses.replace(terms, level=levels.index(transformed), transform=transform)
    objective = SteeredObjective(
        steered, LOSSES[recipe.objective], terms, recipe.quantisation, co_adapters, _fixed_q(recipe, model),
        recipe.fixed_lambda, autocast, (recipe.rates[0], recipe.rates[1]), recipe.sample_weights,
    )  # fmt: skip
    controls = ControlSampler(scalars, maps, recipe.patch, recipe.batch, recipe.seed, recipe.masks == "random")
    return SteeringTask(objective.to(device), controls, recipe.start, recipe.linear_start)


def _distortion(recipe: Recipe, device: torch.device) -> Distortion:
    features = FeatureDistance(recipe.features, recipe.feature_heads) if recipe.features else None
    return Distortion(recipe.distortion, features, recipe.feature_weight).to(device)


def _loss_terms(recipe: Recipe, device: torch.device) -> LossTerms:
    """Return the terms that an adapter's loss measures reconstructions by, and their weights."""
    weights = LossTerms(Distortion("mse"))
    match LOSSES[recipe.objective].features:
        case "metric" if recipe.distortion == "ms-ssim":
            return dataclasses.replace(weights, metric=_ms_ssim_distance, weight=equations.MS_SSIM_WEIGHT)
        case "metric":
            lpips = FeatureDistance(recipe.features, recipe.feature_heads).to(device)
            return dataclasses.replace(
                weights, metric=lpips, weight=equations.LPIPS_WEIGHT, stabiliser=recipe.psnr_weight
            )
        case "recogniser":
            recogniser = _recogniser(recipe.features).to(device)
            balance = FeatureBalance(len(recogniser.channels), recipe.feature_scale, recipe.machine_weight)
            return dataclasses.replace(weights, recogniser=recogniser, balance=balance)
        case _:
            return dataclasses.replace(weights, distortion=_distortion(recipe, device))


def _recogniser(name: str) -> FeatureNetwork | Recogniser:
    """Open a chain of convolutions from a weight file, or a recogniser by its name."""
    return open_recogniser(name) if is_recogniser(name) else FeatureNetwork(name)


def _ms_ssim_distance(x_hat: Tensor, x: Tensor) -> Tensor:
    return 1 - ms_ssim(x_hat, x)


def _fixed_q(recipe: Recipe, base: CompressionModel) -> float | None:
    """Return the rate that a base of variable rate is kept at, None where it follows the drawn one."""
    gain = base.config.gain
    if gain is None or not recipe.base_lambda:
        return None
    return gain.rate_of(recipe.base_lambda)


def _nobody_listens(_: str) -> None:
    pass
