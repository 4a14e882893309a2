"""Search of the rate step that gives a file of a wanted size, or a picture of a wanted quality."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from promptcodec.errors import TargetError, UsageError

DEFAULT_QUALITY = 50.0
Kind = Literal["size", "bpp", "psnr", "ms_ssim", "ssimulacra2"]

MOST_ENCODES = 6
MOST_REFINED = 4
SIZE_TOLERANCE = 0.01  # of the wanted size, below it
QUALITY_TOLERANCE = 0.1  # dB, above the wanted quality
SSIMULACRA2_TOLERANCE = 0.5  # points, above the wanted ones
_UNBRACKETED = 3  # trials on one side of the target after which the end of the range is tried


@dataclass(frozen=True)
class Target:
    """What a file shall have: ``size`` in bytes and ``bpp`` (bits per pixel) at most, ``psnr`` (dB, RGB),
    ``ms_ssim`` (0 to 1) and ``ssimulacra2`` (0 to 100) at least."""

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        """Raises UsageError for a value that no file can have."""
        most = {"size": math.inf, "bpp": math.inf, "psnr": 100.0, "ms_ssim": 1.0, "ssimulacra2": 100.0}[self.kind]
        if not 0 < self.value < most:
            bounds = "positive" if most == math.inf else f"between 0 and {most:g}"
            raise UsageError(f"a target {self.name} is {bounds}, not {self.value:g}")

    @property
    def name(self) -> str:
        """For people."""
        names = {"size": "size", "bpp": "rate", "psnr": "PSNR", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}
        return names[self.kind]

    @property
    def limits_size(self) -> bool:
        """Whether it is a size that must not be passed, and not a quality that must be reached."""
        return self.kind in ("size", "bpp")


def one_target(
    size: float | None = None,
    bpp: float | None = None,
    psnr: float | None = None,
    ms_ssim: float | None = None,
    ssimulacra2: float | None = None,
) -> Target | None:
    """Return the one target that is given, None where none is. Raises UsageError for several, and for impossible
    values.
    """
    values: dict[Kind, float | None] = {
        "size": size, "bpp": bpp, "psnr": psnr, "ms_ssim": ms_ssim, "ssimulacra2": ssimulacra2,
    }  # fmt: skip
    targets = [Target(kind, float(value)) for kind, value in values.items() if value is not None]
    if len(targets) > 1:
        names = " and a ".join(target.name for target in targets)
        raise UsageError(f"a file cannot be made for a {names} at once; give one target")
    return targets[0] if targets else None


@dataclass(frozen=True)
class Goal:
    """A target on the scale of the search, on which trials lie close to a line over the rate step.

    ``low`` to ``high`` is what counts as reached; ``limits_size``: never above ``high``, else never below ``low``.
    ``span``: difference of scores that a typical picture has between the ends of the range. ``text`` writes a score
    for people.
    """

    low: float
    high: float
    limits_size: bool
    span: float
    text: Callable[[float], str]

    @property
    def aim(self) -> float:
        return (self.low + self.high) / 2

    @property
    def limit(self) -> float:
        """The score that was asked for."""
        return self.high if self.limits_size else self.low

    def hit(self, score: float) -> bool:
        """Return whether the goal is reached."""
        return self.low <= score <= self.high

    def safe(self, score: float) -> bool:
        """Return whether a file with this score may be handed out."""
        return score <= self.limit if self.limits_size else score >= self.limit


@dataclass(frozen=True)
class Trial:
    """One encode: the rate step, its score, its file."""

    step: int
    score: float
    data: bytes


def search(
    encode: Callable[[int], bytes],
    goal: Goal,
    score: Callable[[bytes], float],
    last_step: int,
    refined: Callable[[int], bytes] | None = None,
) -> bytes:
    """Return a file that ``goal`` accepts, in at most MOST_ENCODES encodes of steps from 0 to ``last_step``.

    The score grows with the step. Where no step hits the goal (small files change by leaps), the closest safe file is
    returned, with a warning. ``refined`` encodes better and more slowly: then the step is corrected in at most
    MOST_REFINED such encodes from the step that was found, and the file is one of them if any is safe. Raises
    TargetError, which gives the range of ``encode``, for goals beyond it.
    """
    best = _search(encode, goal, score, last_step)
    if refined is not None:
        best = _corrected(refined, goal, score, last_step, best.step) or best
    if not goal.hit(best.score):
        warnings.warn(f"the closest that this picture comes to the target is {goal.text(best.score)}", stacklevel=5)
    return best.data


def _search(encode: Callable[[int], bytes], goal: Goal, score: Callable[[bytes], float], last_step: int) -> Trial:
    trials: list[Trial] = []

    def attempt(step: int) -> Trial:
        data = encode(step)
        trials.append(Trial(step, score(data), data))
        return trials[-1]

    while len(trials) < MOST_ENCODES:
        step = _next_step(trials, goal, last_step)
        if step is None:
            break
        trial = attempt(step)
        if goal.hit(trial.score):
            return trial
        above = trial.score > goal.high
        if trial.step == (0 if above else last_step):  # even the end of the range is on the wrong side
            other = next((t for t in trials if t.step == last_step - trial.step), None)
            other = other or attempt(last_step - trial.step)
            ends = sorted((trial.score, other.score))
            limit, lowest, highest = (goal.text(score) for score in (goal.limit, *ends))
            raise TargetError(f"{limit} is out of range: with this model the picture gives {lowest} to {highest}")
    return _closest(trials, goal)


def _corrected(
    encode: Callable[[int], bytes], goal: Goal, score: Callable[[bytes], float], last_step: int, step: int
) -> Trial | None:
    """Return the best of a few encodes of another kind than those that found ``step``; None where none is safe."""
    trials: list[Trial] = []
    while len(trials) < MOST_REFINED and all(t.step != step for t in trials):
        data = encode(step)
        trials.append(Trial(step, score(data), data))
        if goal.hit(trials[-1].score):
            return trials[-1]
        slope = goal.span / last_step
        if len(trials) > 1:
            measured = (trials[-1].score - trials[-2].score) / (trials[-1].step - trials[-2].step)
            slope = measured if measured > slope / 8 else slope
        step = min(max(round(step + (goal.aim - trials[-1].score) / slope), 0), last_step)
    return _closest(trials, goal) if any(goal.safe(t.score) for t in trials) else None


def _closest(trials: list[Trial], goal: Goal) -> Trial:
    return min((t for t in trials if goal.safe(t.score)), key=lambda t: abs(t.score - goal.aim))


def _next_step(trials: list[Trial], goal: Goal, last_step: int) -> int | None:
    """Return where to look next, None where no step is left."""
    if not trials:
        return last_step // 2
    below = max((t for t in trials if t.score < goal.low), key=lambda t: t.step, default=None)
    above = min((t for t in trials if t.score > goal.high), key=lambda t: t.step, default=None)
    if below is None or above is None:
        return _beyond(trials, goal, last_step)
    if above.step - below.step <= 1:
        return None
    if len(trials) == MOST_ENCODES - 1 and not any(goal.safe(t.score) for t in trials):
        return 0 if goal.limits_size else last_step
    guess = _interpolated(trials, goal.aim)
    if guess is None or not below.step < guess < above.step:
        part = (goal.aim - below.score) / (above.score - below.score)
        guess = below.step + part * (above.step - below.step)
    return min(max(round(guess), below.step + 1), above.step - 1)


def _beyond(trials: list[Trial], goal: Goal, last_step: int) -> int:
    """Extrapolation, as all trials lie on one side of the goal; the end of the range where that took too long."""
    nearest = min(trials, key=lambda t: abs(t.score - goal.aim))
    up = nearest.score < goal.low
    end = last_step if up else 0
    if len(trials) >= _UNBRACKETED:
        return end
    slope = goal.span / last_step
    if len(trials) > 1 and trials[0].score != trials[1].score:
        measured = (trials[1].score - trials[0].score) / (trials[1].step - trials[0].step)
        slope = measured if measured > slope / 8 else slope
    step = round(nearest.step + (goal.aim - nearest.score) / slope)
    # A guess close to the end is a guess of the end, where out-of-range targets show themselves.
    margin = last_step // 50
    step = end if abs(step - end) < margin else step
    return min(max(step, nearest.step + 1), last_step) if up else max(min(step, nearest.step - 1), 0)


def _interpolated(trials: list[Trial], aim: float) -> float | None:
    """Step at ``aim`` by the parabola through the three trials with the closest scores, None for fewer."""
    points = {t.score: t.step for t in trials}
    closest = sorted(points, key=lambda score: abs(score - aim))[:3]
    if len(closest) < 3:
        return None
    total = 0.0
    for score in closest:
        term = float(points[score])
        for other in closest:
            if other != score:
                term *= (aim - other) / (score - other)
        total += term
    return total
