"""The training loop: checkpointed, resumed bit-exactly on the CPU, in one process or several."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptcodec.errors import DivergenceError, UsageError
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.inference.precision import autocast_pays
from promptcodec.model.layers.blocks import Block
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.quality.lpips import FeatureDistance
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import base_fingerprint
from promptcodec.train.data.arrivals import Watch, take_up_arrivals
from promptcodec.train.data.control_sampler import ControlSampler
from promptcodec.train.data.crops import CropSampler
from promptcodec.train.data.objects import ObjectReader
from promptcodec.train.data.pictures import PictureStore
from promptcodec.train.data.remote import is_remote
from promptcodec.train.data.stream import StreamedStore
from promptcodec.train.linear_start import linear_start
from promptcodec.train.losses.distortion import Distortion
from promptcodec.train.losses.objective import Objective
from promptcodec.train.optimiser import Optimiser
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.checkpoint import load_checkpoint, save_checkpoint
from promptcodec.train.run.distributed import World
from promptcodec.train.run.divergence import LOOK_EVERY
from promptcodec.train.run.guard import Guard
from promptcodec.train.run.portable import load_portable, save_portable
from promptcodec.train.run.progress import Meter, flops_per_sample
from promptcodec.train.run.schedule import rate_factor
from promptcodec.train.run.session import Log, StopSignal
from promptcodec.train.start import start_from
from promptcodec.train.steered import Steered, SteeredObjective, base_network, new_adapter
from promptcodec.train.validation import validate, validate_steered
from promptcodec.train.validation_sets import Rows, ValidationSets

LINEAR_START_CROPS = 1024
AGREE_EVERY = 16  # steps between the points at which several processes agree on stopping and new data

Report = Callable[[dict[str, Any]], None]


class Trainer:
    """Model, its moving average, optimisers and sampler of one run; ``folder`` holds log and checkpoint.

    ``portable``: a folder that gets a copy in two bytes a weight with every checkpoint, and that the run starts from
    where ``folder`` has no checkpoint. ``say`` tells people what they should know.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        portable: Path | None = None,
        world: World | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        if recipe.model not in CONFIGURATIONS:
            raise UsageError(f"unknown model {recipe.model!r}; known are {', '.join(CONFIGURATIONS)}")
        steers = recipe.train != "model"
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder, self.portable = recipe, folder, portable
        self.world = world or World()
        self.say = say if self.world.leads else _nobody_listens
        self.device = self.world.device(recipe.device)
        self.parts = self.world.parts(recipe.parts)
        if recipe.batch % self.parts:
            raise UsageError(f"a batch of {recipe.batch} does not divide into {self.parts} parts")
        # Crops that the weights have seen, and batches ever computed: a run may go on with another batch size, or
        # go back to earlier weights, and then sees other crops.
        self.step = self.samples = 0
        self.seconds = 0.0  # spent training, over all resumptions
        self.restarted: int | None = None  # samples at which the moments were lost
        network = base_network(recipe) if steers else CompressionModel(CONFIGURATIONS[recipe.model]())
        self.model = channels_last(network.to(self.device))
        if not steers and (self.model.gain is None) != (recipe.fixed_lambda > 0):
            raise UsageError(f"model {recipe.model} needs fixed_lambda {'> 0' if self.model.gain is None else '= 0'}")
        if not recipe.stochastic_depth:
            for block in self.model.modules():
                if isinstance(block, Block):
                    block.drop_path = 0.0
        autocast, why = autocast_pays(recipe.precision, self.device)
        self.say(f"training on {self.device}, {why}")
        if self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.benchmark = True
        self.steered: Steered | None = None
        self.controls: ControlSampler | None = None
        if steers:
            adapter = new_adapter(recipe, self.model)
            self.steered = channels_last(Steered(self.model, adapter, recipe.train == "joint").to(self.device))
            steered_objective = SteeredObjective(self.steered, recipe, autocast).to(self.device)
            masks = recipe.masks == "random"
            self.controls = ControlSampler(*steered_objective.asks, recipe.patch, recipe.batch, recipe.seed, masks)
            self.objective: Objective | SteeredObjective = steered_objective
        else:
            features = FeatureDistance(recipe.features, recipe.feature_heads) if recipe.features else None
            distortion = Distortion(recipe.distortion, features, recipe.feature_weight).to(self.device)
            self.objective = Objective(self.model, distortion, recipe.quantisation, recipe.fixed_lambda, autocast)
        self.trained = self.model if self.steered is None else self.steered
        self.optimiser = Optimiser(self.trained, recipe)
        self.average = {k: v.detach().clone() for k, v in self.trained.state_dict().items()}
        self.guard = Guard(recipe, folder, self.world) if recipe.guard else None
        self.validation: Rows = []  # the last one's rows on the first set
        self.meter = Meter(self.device)
        self._data: dict[str, Any] | None = None
        self._compiling = recipe.compile

    def begin(self) -> str:
        """Continue from the folder's checkpoint, else from the portable copy, else start; says which."""
        state = load_checkpoint(self.folder)
        if state is not None:
            self.restore(state)
            return f"continuing at {self.samples:,} samples{self.recipe.changes_since(state.get('recipe'))}"
        state = load_portable(self.portable) if self.portable else None
        if state is not None:
            self.restore(state, here=False)
            self.restarted = self.samples
            where = f"{self.samples:,} samples from {self.portable}, with a warm-up of the optimiser"
            return f"continuing at {where}{self.recipe.changes_since(state.get('recipe'))}"
        recipe = self.recipe
        if recipe.start:
            if self.steered is None:
                start_from(self.model, recipe.start, recipe.start_lambda, self._first_crops)
        elif recipe.linear_start:
            linear_start(self.model, self._first_crops().cpu())
        self.average = {k: v.detach().clone() for k, v in self.trained.state_dict().items()}
        return f"starting from {recipe.start or ('a linear codec' if recipe.linear_start else 'chance')}"

    @cached_property
    def sampler(self) -> CropSampler:
        """Crops of the recipe's data, which are loaded at first use."""
        recipe = self.recipe
        memory = int(recipe.memory * 2**30) if recipe.memory else None
        store: PictureStore | StreamedStore
        if any(map(is_remote, recipe.data)):
            if recipe.share < 1:
                raise UsageError("a share of the pictures is taken of data at hand: of streams, give fewer shards")
            store = StreamedStore(recipe.data, recipe.patch, self.device, memory, recipe.reuse, recipe.seed, self.say)
        else:
            store = PictureStore(recipe.data, recipe.patch, self.device, memory, recipe.reuse, self.say, recipe.share)
        if self._data is not None:
            store.restore(self._data, self.samples)
        else:
            store.fill(self.samples)
        return CropSampler(store, recipe.patch, recipe.min_scale, recipe.seed)

    def _first_crops(self) -> Tensor:
        """Crops (B, 3, H, W) in [0, 1] for what a run begins with."""
        return self.sampler.batch(-1 % 2**32, LINEAR_START_CROPS)

    @cached_property
    def _objects(self) -> ObjectReader:
        return ObjectReader(self.sampler, self.say)

    @cached_property
    def _module(self) -> nn.Module:
        module = self.world.distribute(self.objective)
        return torch.compile(module) if self._compiling else module  # type: ignore[return-value]

    @cached_property
    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Floating-point tensors of the average, and of the model in the same order."""
        state = self.trained.state_dict()
        keys = [k for k, v in self.average.items() if v.is_floating_point()]
        return [self.average[k] for k in keys], [state[k] for k in keys]

    def train_step(self) -> tuple[Tensor, Tensor]:
        """One batch; returns its sums as ``Meter`` takes them, of this process's parts, and its gradients' norm."""
        recipe = self.recipe
        self.trained.train()
        self.sampler.store.move(self.samples)
        # Stratified: every batch, and every part of it, sees all rates.
        draw = np.random.default_rng([recipe.seed, self.step, 1]).random()
        low, high = recipe.rates
        q = low + (high - low) * (torch.arange(recipe.batch) + draw) / recipe.batch
        own = range(self.world.rank, self.parts, self.world.size)
        self.optimiser.zero_grad()
        total: Tensor | None = None
        for part in own:
            x = self.sampler.batch(self.step, recipe.batch, part, self.parts)
            sums = self._backward(x, q[part :: self.parts].to(self.device), part, last=part == own[-1])
            total = sums if total is None else total + sums
        assert total is not None
        norm = self.optimiser.step(self._rate_factor())
        self.meter.add(total, norm)
        self.step += 1
        self.samples += recipe.batch
        decay = min(recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1 - decay)
        return total, norm

    def _rate_factor(self) -> float:
        lowered = self.guard.rate if self.guard is not None else 1.0
        return lowered * rate_factor(self.recipe, self.samples, self.restarted)

    def _backward(self, x: Tensor, q: Tensor, part: int, last: bool) -> Tensor:
        """Add the gradients of one part of the batch; returns its sums. Processes share gradients after the last."""
        # Noise is a function of (seed, step, part), so that one process draws what several would.
        seed = np.random.SeedSequence([self.recipe.seed, self.step, part]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        wait = contextlib.nullcontext() if last or self.world.size == 1 else self._module.no_sync()  # type: ignore[operator]
        try:
            with wait:
                loss, sums = self._module(x, q, *self._asked(part))
                (loss * (self.world.size / self.parts)).backward()
        except Exception as error:  # compilers fail in many ways, all in the first step
            if not self._compiling:
                raise
            self.say(f"torch.compile failed, going on without it: {type(error).__name__}: {str(error).splitlines()[0]}")
            self._compiling = False
            del self._module
            self.optimiser.zero_grad()
            return self._backward(x, q, part, last)
        return sums  # type: ignore[no-any-return]

    def _asked(self, part: int) -> tuple[Any, ...]:
        """What a steered objective takes beyond pictures and rates: controls, and which adapters are beside."""
        if self.controls is None:
            return ()
        recipe = self.recipe
        seed, beside = [recipe.seed, self.step, 4], len(recipe.beside)
        chosen = np.flatnonzero(np.random.default_rng(seed).random(beside) < 0.5).tolist()
        place = (self.step, recipe.batch, part, self.parts)
        objects = self._objects.of_batch(*place) if self.controls.maps and self.controls.random else ()
        return self.controls.part(self.step, part, self.parts, self.device, objects), chosen

    def averaged(self) -> CompressionModel:
        """A model of the moving average, which is what ships; of an adapter's run, its base."""
        if self.steered is not None:
            return self._averaged_steered().network
        model = channels_last(CompressionModel(self.model.config).to(self.device))
        model.load_state_dict(self.average)
        return model.eval()

    def averaged_adapter(self) -> Adapter | None:
        """The adapter of the moving average, None where the run has none."""
        return None if self.steered is None else self._averaged_steered().adapter

    def _averaged_steered(self) -> Steered:
        steered = copy.deepcopy(self.steered)
        assert steered is not None
        steered.load_state_dict(self.average)
        return steered.eval()

    def state(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs, beside the files of the guard's states."""
        data = self.sampler.store.state() if "sampler" in self.__dict__ else self._data
        return {"step": self.step, "seconds": self.seconds, "restarted": self.restarted, "base": self._base,
                "data": data, "recipe": dataclasses.asdict(self.recipe),
                "guard": self.guard.state() if self.guard is not None else None} | self._learned()  # fmt: skip

    def _learned(self) -> dict[str, Any]:
        """What training changes: weights, their average, moments, and the samples that they come from."""
        return {"samples": self.samples, "model": self.trained.state_dict(), "average": self.average,
                **self.optimiser.state()}  # fmt: skip

    def restore(self, state: dict[str, Any], here: bool = True) -> None:
        """Continue from ``state``; one without moments (portable) leaves the optimiser as it is.

        ``here``: the state is that of the run's own folder, where the guard's states are.
        """
        if state.get("base", "") != self._base:
            raise UsageError(f"this run's adapter was trained on another base than {self.recipe.start}")
        self.step = state["step"]
        self.seconds, self.restarted = state.get("seconds", 0.0), state.get("restarted")
        self._data = state.get("data")
        try:
            self._relearn(state)
        except RuntimeError:
            changes = self.recipe.changes_since(state.get("recipe"))
            raise UsageError(
                f"{self.folder} holds a run of other networks than this recipe's{changes}: "
                "give the recipe that it was made with, or another folder"
            ) from None
        if self.guard is not None and state.get("guard"):
            self.guard.restore(state["guard"], here, not self.recipe.changes_since(state.get("recipe")))

    def _relearn(self, state: dict[str, Any]) -> None:
        """Take over what ``_learned`` gave."""
        self.trained.load_state_dict(state["model"])
        self.samples = state["samples"]
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.__dict__.pop("_pairs", None)
        if "optimiser" in state:
            self.optimiser.restore(state)

    @cached_property
    def _base(self) -> str:
        """Identifies the frozen base of an adapter's run."""
        return base_fingerprint(self.model) if self.recipe.train == "adapter" else ""

    def save(self) -> None:
        """Write the checkpoint, and its portable copy, which is of the last good state if the run may be diverging."""
        if self.guard is not None:
            self.guard.monitor.read()  # of all processes
        if not self.world.leads:
            return
        state = self.state()
        if self.guard is not None:
            self.guard.states.write()
        save_checkpoint(self.folder, state)
        if self.guard is not None:
            self.guard.states.sweep()
        if self.portable is not None:
            save_portable(self.portable, self.guard.copy_of(state) if self.guard is not None else state)

    def run(self, max_seconds: float = math.inf, report: Report | None = None) -> None:
        """Train to the end of the recipe, to ``max_seconds``, or to SIGTERM or Ctrl-C; always leaves a checkpoint."""
        recipe, world = self.recipe, self.world
        start = saved = logged = time.monotonic()
        before, step_logged, validated = self.seconds, self.step, self.samples
        self.folder.mkdir(parents=True, exist_ok=True)
        stop, flops = StopSignal(), 0
        if self.guard is not None:
            self.guard.begin(self.step, self._learned)
        with stop, Log(self.folder, world.leads) as log:
            while self.samples < recipe.samples:
                now = time.monotonic()
                if world.size == 1 or self.step % AGREE_EVERY == 0:
                    overdue = now - saved > 60 * recipe.checkpoint_minutes
                    ending, saving = world.any(stop.received or now - start >= max_seconds, overdue)
                    if ending:
                        break
                    taken = take_up_arrivals(self._watch, world)
                    if taken or saving:
                        self.save()
                        saved = time.monotonic()
                    if taken:
                        self.say(f"{self.samples:,} samples: {len(taken)} more from the data ({taken[0]} …)")
                if not flops:
                    flops = flops_per_sample(self.objective, recipe.patch, self.device, self._example())
                    logged = time.monotonic()
                figures = self.train_step()
                self.seconds = before + time.monotonic() - start
                if self.step % recipe.log_every == 0:
                    row = self.meter.read(world)
                    speed = (self.step - step_logged) * recipe.batch / (time.monotonic() - logged)
                    row |= {"step": self.step, "samples": self.samples, "seconds": round(self.seconds, 1),
                            "rate": round(self._rate_factor(), 5), "samples_per_second": round(speed, 2),
                            "tflops": round(speed * flops / 1e12, 4)}  # fmt: skip
                    log.write(row)
                    if report is not None and world.leads:
                        report(row)
                    logged, step_logged = time.monotonic(), self.step
                self._watch_over(*figures, log)
                if recipe.validation_every and self.samples - validated >= recipe.validation_every:
                    validated = self.samples
                    self._validate(log)
            self.save()
            if self.seconds > before:
                self._validate(log)

    def _watch_over(self, sums: Tensor, norm: Tensor, log: Log) -> None:
        """Let the guard see a step, and go back where it says so. Raises DivergenceError where that does not help."""
        guard, diverged_at = self.guard, self.samples
        if guard is None:
            return
        guard.add(sums, norm)
        if self.step % LOOK_EVERY and self.samples < self.recipe.samples:
            return
        rollback = guard.look(self.step, self.samples, self._learned)
        if rollback is None:
            return
        self._relearn(rollback.state)
        self.meter.reset()
        log.write({"rollback": guard.rollbacks, "step": self.step, "from": diverged_at, "samples": self.samples,
                   "rate": round(self._rate_factor(), 5), **rollback.figures})  # fmt: skip
        if guard.exhausted:
            self.save()
            raise DivergenceError(f"{rollback.sentence()}; {guard.advice()}")
        self.say(rollback.sentence())

    def _example(self) -> dict[str, Tensor] | None:
        """Controls for one sample."""
        asked = self._asked(0)
        return {name: value[:1] for name, value in asked[0].items()} if asked else None

    def _validate(self, log: Log) -> None:
        """RD of the moving average on the recipe's validation sets, into ``validation.jsonl``."""
        if not self.world.leads or not self.recipe.validation:
            return
        found = self._validation_sets.measure(self._measure, self.folder, self.samples)
        self.validation = next(iter(found.rows.values()))
        self.say(found.line())
        if found.gap is not None:
            log.write({"step": self.step, "samples": self.samples, "gap": dataclasses.asdict(found.gap)})

    def _measure(self, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
        if isinstance(self.objective, SteeredObjective):
            return validate_steered(self._averaged_steered(), self.objective.held, pictures)
        return validate(self.averaged(), pictures)

    @cached_property
    def _validation_sets(self) -> ValidationSets:
        recipe = self.recipe
        return ValidationSets(recipe.validation, self.sampler.store, recipe.train_sample, self.say)

    @cached_property
    def _watch(self) -> Watch:
        return Watch(self.sampler.store, self.recipe.watch)


def _nobody_listens(_: str) -> None:
    pass
