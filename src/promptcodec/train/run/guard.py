"""Takes a run that diverges back to its last good state, from where it goes on more slowly and on other crops.

The learning rate is lowered for the rest of the run: a rate at which a run diverged is too high for it, one that
climbed back would diverge again, and every time costs up to two windows of steps. A rate that is lower than it had to
be costs little (docs/training.md, the levers: a factor of three changes nothing that can be seen).

Crops, rates and noise are functions of (seed, step), and the count of steps never goes back, so the run sees others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from promptcodec.train.run.distributed import World
from promptcodec.train.run.divergence import LOOK_EVERY, DivergenceMonitor, Verdict
from promptcodec.train.run.good_states import GoodStates


@dataclass(frozen=True)
class GuardSettings:
    """When a run has diverged, and how it goes on.

    ``loss`` and ``norm``: how many times what is usual they may be. ``rate``: what a return multiplies the learning
    rate with. ``steps``: those after which a state is good. ``retries``: returns in a row without getting further.
    """

    loss: float = 2.0
    norm: float = 10.0
    rate: float = 0.7
    steps: int = 256
    retries: int = 4


@dataclass(frozen=True)
class Rollback:
    """The ``state`` to go back to after diverging at so many samples, and the ``figures`` that told it."""

    diverged_at: int
    state: dict[str, Any]
    figures: dict[str, float | None]
    rate: float

    def sentence(self) -> str:
        """Describe in a sentence what happened."""
        texts = {name: "not finite" if value is None else f"{value:,.4g}" for name, value in self.figures.items()}
        usual = "" if self.figures["usual_loss"] is None else " (usually {usual_loss} and {usual_norm})".format(**texts)
        return (
            f"diverged at {self.diverged_at:,} samples: loss {texts['loss']}, gradient norm {texts['norm']}{usual}; "
            f"back to {self.state['samples']:,} samples, at {self.rate:.3g} of the learning rate"
        )


class Guard:
    """Watches a run. ``rate``: what its learning rate is to be multiplied with. ``rollbacks``: times it went back.

    ``attempts``: times it went back since a good state lay beyond all places where it had diverged.
    """

    def __init__(self, settings: GuardSettings, folder: Path, world: World) -> None:
        self.settings = settings
        self.monitor = DivergenceMonitor((settings.loss, settings.norm), world)
        self.states = GoodStates(folder)
        self.rate = 1.0
        self.rollbacks = self.attempts = 0
        self._furthest = 0  # samples at which it diverged
        self._window = LOOK_EVERY * round(settings.steps / LOOK_EVERY)

    @property
    def exhausted(self) -> bool:
        """Whether it went back more often than the recipe allows."""
        return self.attempts > self.settings.retries

    def begin(self, step: int, take: Callable[[], dict[str, Any]]) -> None:
        """Begin, before the first step: where nothing is known to be good, that is what the run stands at."""
        if self.states.samples is None:
            self.states.begin(step, self._with_looks(take()))

    def add(self, sums: Tensor, norm: Tensor) -> None:
        """Take up a step, without waiting for it."""
        self.monitor.add(sums, norm)

    def look(self, step: int, samples: int, take: Callable[[], dict[str, Any]]) -> Rollback | None:
        """Judge the last steps: what to go back to where the run has diverged, else None.

        ``take`` gives the run's state, ``samples`` among it. To be called by all processes after every LOOK_EVERY
        steps, and after the last one.
        """
        verdict = self.monitor.look(complete=step % LOOK_EVERY == 0)
        if verdict is Verdict.DIVERGED:
            return self._roll_back(samples)
        if verdict is Verdict.DOUBTFUL:
            self.states.drop_candidate()
        elif step % self._window == 0:
            self.states.turn(step, self._with_looks(take()))
            if (self.states.samples or 0) > self._furthest:
                self.attempts = 0
        return None

    def copy_of(self, state: dict[str, Any]) -> dict[str, Any]:
        """Choose what to copy of the run's ``state`` to where no good states are.

        The last one of them, if it may diverge.
        """
        if self.states.samples is None or self.monitor.verdict() is Verdict.WELL:
            return state
        good = self.states.good()
        usual = {"monitor": {"looks": good.pop("looks")}}
        return state | good | {"guard": self.state() | usual}

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs, besides the files of the good states."""
        return {"rate": self.rate, "rollbacks": self.rollbacks, "attempts": self.attempts, "furthest": self._furthest,
                "states": self.states.state(), "monitor": self.monitor.state()}  # fmt: skip

    def restore(self, state: dict[str, Any], files: bool, same_recipe: bool) -> None:
        """Continue from ``state``; without ``files`` the good states that it names are those of another folder.

        Without the ``same_recipe`` what was usual is so no longer (of another distortion, losses are others), nor have
        there been attempts.
        """
        self.rate, self.rollbacks, self.attempts = state["rate"], state["rollbacks"], state["attempts"]
        self._furthest = state["furthest"]
        self.monitor.restore(state["monitor"])
        if files and (same_recipe or self.monitor.verdict() is not Verdict.WELL):
            self.states.restore(state["states"])
        if not same_recipe:
            self.monitor.restore({})
            self.attempts = 0

    def advice(self) -> str:
        """Advise on a run whose attempts are exhausted."""
        return (
            f"{self.attempts} times in a row without a good state beyond {self._furthest:,} samples, once more than "
            "guard_retries allows. The checkpoint is the last good state: lower learning_rate, or raise warmup, "
            "before going on, or set guard = 0 to go on without this check"
        )

    def _roll_back(self, samples: int) -> Rollback:
        self.rate *= self.settings.rate
        self.rollbacks += 1
        self.attempts += 1
        self._furthest = max(self._furthest, samples)
        self.states.drop_candidate()
        figures, state = self.monitor.figures(), self.states.good()
        self.monitor.restore({"looks": state.pop("looks")})
        return Rollback(samples, state, figures, self.rate)

    def _with_looks(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return ``state`` with what was usual at that time, which is usual again after going back to it."""
        return state | {"looks": self.monitor.state()["looks"]}
