"""The training loop: checkpointed, resumed bit-exactly on the CPU, in one process or several."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptcodec.errors import DivergenceError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.steer.adapter import Adapter
from promptcodec.train.data.arrivals import take_up_arrivals
from promptcodec.train.data.training_data import TrainingData
from promptcodec.train.optimiser import Optimiser
from promptcodec.train.run.distributed import World
from promptcodec.train.run.divergence import LOOK_EVERY
from promptcodec.train.run.progress import Meter, flops_per_sample
from promptcodec.train.run.schedule import Schedule
from promptcodec.train.run.session import Log, StopSignal
from promptcodec.train.task import BatchPart, Task
from promptcodec.train.training_run import Run
from promptcodec.train.validation import Rows
from promptcodec.train.validation_sets import ValidationSets

AGREE_EVERY = 16  # steps between the points at which several processes agree on stopping and new data

Report = Callable[[dict[str, Any]], None]


class Trainer:
    """One run of ``task`` on crops of ``data``, by ``optimiser`` and ``schedule``, in the processes of ``world``.

    ``run`` is where it is kept. ``samples`` counts the crops that the weights have seen, ``step`` the batches ever
    computed: a run may go on with another batch size, or go back to earlier weights, and then sees other crops.
    ``average`` is the moving average of what is trained.
    """

    def __init__(
        self, task: Task, data: TrainingData, optimiser: Optimiser, schedule: Schedule, run: Run, world: World
    ) -> None:
        self.task, self.data, self.optimiser, self.schedule = task, data, optimiser, schedule
        self.run, self.world = run, world
        self.device = next(task.model.parameters()).device
        self.step = self.samples = 0
        self.seconds = 0.0  # spent training, over all resumptions
        self.restarted: int | None = None  # samples at which the moments were lost
        self.average = {k: v.detach().clone() for k, v in task.trained.state_dict().items()}
        self.guard = run.new_guard(world)
        self.validation: Rows = []  # the last one's rows on the first set
        self.meter = Meter(self.device)
        self._compiling = run.recipe.compile

    def begin(self) -> str:
        """Continue from the folder's checkpoint, else from the portable copy, else start; says which."""
        state = self.run.load()
        if state is not None:
            self.restore(state)
            return f"continuing at {self.samples:,} samples{self.run.changes_since(state)}"
        state = self.run.load_portable()
        if state is not None:
            self.restore(state, in_folder=False)
            self.restarted = self.samples
            source = f"{self.samples:,} samples from {self.run.portable}, with a warm-up of the optimiser"
            return f"continuing at {source}{self.run.changes_since(state)}"
        start = self.task.begin(self.data.first_crops)
        self.average = {k: v.detach().clone() for k, v in self.task.trained.state_dict().items()}
        return f"starting from {start}"

    @cached_property
    def _module(self) -> nn.Module:
        module = self.world.distribute(self.task.objective)
        return torch.compile(module) if self._compiling else module  # type: ignore[return-value]

    @cached_property
    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """Floating-point tensors of the average, and of what is trained in the same order."""
        state = self.task.trained.state_dict()
        keys = [k for k, v in self.average.items() if v.is_floating_point()]
        return [self.average[k] for k in keys], [state[k] for k in keys]

    def train_step(self) -> tuple[Tensor, Tensor]:
        """Train on one batch; returns the sums of this process's parts, for ``Meter``, and the gradients' norm."""
        schedule, data = self.schedule, self.data
        self.task.trained.train()
        data.store.move(self.samples)
        q = schedule.draw_rates(data.seed, self.step)
        parts = range(self.world.rank, schedule.parts, self.world.size)  # of this process
        self.optimiser.zero_grad()
        total: Tensor | None = None
        for part in parts:
            x = data.sampler.batch(self.step, schedule.batch, part, schedule.parts)
            sums = self._backward(x, q[part :: schedule.parts].to(self.device), part, last=part == parts[-1])
            total = sums if total is None else total + sums
        assert total is not None
        norm = self.optimiser.step(self._rate_factor())
        self.meter.add(total, norm)
        self.step += 1
        self.samples += schedule.batch
        with torch.no_grad():
            torch._foreach_lerp_(*self._pairs, 1 - schedule.average_decay(self.step))
        return total, norm

    def _rate_factor(self) -> float:
        lowered = self.guard.rate if self.guard is not None else 1.0
        return lowered * self.schedule.rate_factor(self.samples, self.restarted)

    def _backward(self, x: Tensor, q: Tensor, part: int, last: bool) -> Tensor:
        """Add the gradients of one part of the batch; returns its sums. Processes share gradients after the last."""
        # Noise is a function of (seed, step, part), so that one process draws what several would.
        seed = np.random.SeedSequence([self.data.seed, self.step, part]).generate_state(1)[0]
        torch.manual_seed(int(seed))
        wait = contextlib.nullcontext() if last or self.world.size == 1 else self._module.no_sync()  # type: ignore[operator]
        try:
            with wait:
                loss, sums = self._module(x, q, *self.draw_inputs(part))
                (loss * (self.world.size / self.schedule.parts)).backward()
        except Exception as error:  # compilers fail in many ways, all in the first step
            if not self._compiling:
                raise
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            self.run.say(f"torch.compile failed, going on without it: {reason}")
            self._compiling = False
            del self._module
            self.optimiser.zero_grad()
            return self._backward(x, q, part, last)
        return sums  # type: ignore[no-any-return]

    def draw_inputs(self, part: int = 0) -> tuple[Any, ...]:
        """Draw what the task's objective takes besides pictures and rates, for one part of the batch of this step."""
        place = BatchPart(self.step, self.schedule.batch, part, self.schedule.parts)
        return self.task.inputs(place, self.data)

    def averaged(self) -> CompressionModel:
        """Make a model of the moving average, which is what ships; of an adapter's run, its base."""
        return self.task.networks(self.average)[0]

    def averaged_adapter(self) -> Adapter | None:
        """Make the adapter of the moving average, None where the run has none."""
        return self.task.networks(self.average)[1]

    def state(self) -> dict[str, Any]:
        """Return everything that a bit-exact continuation needs, besides the files of the guard's states."""
        return {"step": self.step, "seconds": self.seconds, "restarted": self.restarted,
                "base": self.task.base_fingerprint, "data": self.data.state(),
                "recipe": dataclasses.asdict(self.run.recipe),
                "guard": self.guard.state() if self.guard is not None else None} | self._learned()  # fmt: skip

    def _learned(self) -> dict[str, Any]:
        """Return all that training changes: weights, their average, moments, and the samples that they come from."""
        return {"samples": self.samples, "model": self.task.trained.state_dict(), "average": self.average,
                **self.optimiser.state()}  # fmt: skip

    def restore(self, state: dict[str, Any], in_folder: bool = True) -> None:
        """Continue from ``state``; one without moments (portable) leaves the optimiser as it is.

        ``in_folder``: the state is that of the run's own folder, where the guard's states are. Raises UsageError for
        the state of another run.
        """
        changes = self.run.changes_since(state)
        if state.get("base", "") != self.task.base_fingerprint:
            raise UsageError(f"this run's adapter was trained on another base than {self.run.recipe.start}")
        self.step = state["step"]
        self.seconds, self.restarted = state.get("seconds", 0.0), state.get("restarted")
        self.data.restore(state.get("data"), state["samples"])
        try:
            self._relearn(state)
        except RuntimeError:
            lacking = self.task.trained.state_dict().keys() - state["model"].keys()
            if lacking and all(name.startswith("balance.") for name in lacking):
                raise UsageError(
                    f"{self.run.folder} holds a run that was begun before features were scaled{changes}: start afresh, "
                    "in another folder"
                ) from None
            raise UsageError(
                f"{self.run.folder} holds a run of other networks than this recipe's{changes}: "
                "give the recipe that it was made with, or another folder"
            ) from None
        if self.guard is not None and state.get("guard"):
            self.guard.restore(state["guard"], in_folder, not changes)

    def _relearn(self, state: dict[str, Any]) -> None:
        """Take over what ``_learned`` gave."""
        self.task.trained.load_state_dict(state["model"])
        self.samples = state["samples"]
        self.average = {k: v.to(self.device) for k, v in state["average"].items()}
        self.__dict__.pop("_pairs", None)
        if "optimiser" in state:
            self.optimiser.restore(state)

    def save(self) -> None:
        """Write the checkpoint, and its portable copy."""
        if self.guard is not None:
            self.guard.monitor.read()  # of all processes
        if self.world.leads:
            self.run.save(self.state(), self.guard)

    def train(self, max_seconds: float = math.inf, report: Report | None = None) -> None:
        """Train to the end of the schedule, to ``max_seconds``, or to SIGTERM or Ctrl-C; always leaves a checkpoint.

        Raises DivergenceError where the guard's returns do not help.
        """
        recipe, world = self.run.recipe, self.world
        start = saved = logged = time.monotonic()
        before, step_logged, validated = self.seconds, self.step, self.samples
        self.run.folder.mkdir(parents=True, exist_ok=True)
        stop, flops = StopSignal(), 0
        if self.guard is not None:
            self.guard.begin(self.step, self._learned)
        with stop, Log(self.run.folder, world.leads) as log:
            while self.samples < self.schedule.samples:
                now = time.monotonic()
                if world.size == 1 or self.step % AGREE_EVERY == 0:
                    overdue = now - saved > 60 * recipe.checkpoint_minutes
                    ending, saving = world.any(stop.received or now - start >= max_seconds, overdue)
                    if ending:
                        break
                    arrived = take_up_arrivals(self.data.watch, world)
                    if arrived or saving:
                        self.save()
                        saved = time.monotonic()
                    if arrived:
                        self.run.say(f"{self.samples:,} samples: {len(arrived)} more from the data ({arrived[0]} …)")
                if not flops:
                    flops = flops_per_sample(self.task.objective, self.data.patch, self.device, self._example())
                    logged = time.monotonic()
                figures = self.train_step()
                self.seconds = before + time.monotonic() - start
                if self.step % recipe.log_every == 0:
                    row = self.meter.read(world)
                    speed = (self.step - step_logged) * self.schedule.batch / (time.monotonic() - logged)
                    row |= {"step": self.step, "samples": self.samples, "seconds": round(self.seconds, 1),
                            "rate": round(self._rate_factor(), 5), "samples_per_second": round(speed, 2),
                            "tflops": round(speed * flops / 1e12, 4)}  # fmt: skip
                    log.write(row)
                    if report is not None and world.leads:
                        report(row)
                    logged, step_logged = time.monotonic(), self.step
                self._check_divergence(*figures, log)
                if recipe.validation_every and self.samples - validated >= recipe.validation_every:
                    validated = self.samples
                    self._validate(log)
            self.save()
            if self.seconds > before:
                self._validate(log)

    def _check_divergence(self, sums: Tensor, norm: Tensor, log: Log) -> None:
        """Let the guard see a step, and go back where it says so. Raises DivergenceError where that does not help."""
        guard, diverged_at = self.guard, self.samples
        if guard is None:
            return
        guard.add(sums, norm)
        if self.step % LOOK_EVERY and self.samples < self.schedule.samples:
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
        self.run.say(rollback.sentence())

    def _example(self) -> dict[str, Tensor] | None:
        """Return the controls for one sample."""
        inputs = self.draw_inputs()
        return {name: value[:1] for name, value in inputs[0].items()} if inputs else None

    def _validate(self, log: Log) -> None:
        """Measure the moving average on the recipe's validation sets, into ``validation.jsonl``."""
        if not self.world.leads or not self.run.recipe.validation:
            return
        measured = self._validation_sets.measure(self._measure, self.run.folder, self.samples)
        self.validation = next(iter(measured.rows.values()))
        self.run.say(measured.line())
        if measured.gap is not None:
            log.write({"step": self.step, "samples": self.samples, "gap": dataclasses.asdict(measured.gap)})

    def _measure(self, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
        return self.task.validate(self.average, pictures)

    @cached_property
    def _validation_sets(self) -> ValidationSets:
        recipe = self.run.recipe
        return ValidationSets(recipe.validation, self.data.store, recipe.train_sample, self.run.say)
