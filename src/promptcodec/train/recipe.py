"""Training recipes: TOML files read into a frozen dataclass, unknown keys refused."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from promptcodec.errors import UsageError
from promptcodec.model.inference.precision import PRECISIONS, Precision
from promptcodec.train.losses.distortion import METRICS
from promptcodec.train.run.divergence import LOOK_EVERY

Objective = Literal["rate-distortion", "look", "single", "region", "relative-region", "quality", "machine"]


@dataclass(frozen=True)
class Recipe:
    """One training run.

    Schedules are in samples (crops seen), so that runs of any length and batch compare.

    ``data``: folders or tar files of pictures; what arrives in them during the run is taken up, looked for every
    ``watch`` seconds (0: never). Addresses of tar files are read as a stream: ``https://host/shard-{000..127}.tar``,
    s3:// and others through fsspec. ``memory``: GiB of decoded pictures to hold (0: all, of streams 4); beyond it, each
    picture serves ``reuse`` crops before the next takes its place. ``share``: of the pictures, evenly spread over them,
    that are used (paper 001, Fig. 8: how few do). ``validation``: folders or tar files, each a set,
    measured every ``validation_every`` samples (0: only at the end).

    ``patch``: side of the crops in pixels. ``batch``: crops in one step, cut into ``parts`` that are computed one
    after the other, or by as many processes. ``samples``: crops of the whole run. The learning rate rises over
    ``warmup`` samples, and falls to zero over the last ``decay`` (a share) of them; ``rewarm``: samples of a second
    warm-up where a run goes on without its optimiser's moments.

    ``guard``: a run whose median loss of 16 steps exceeds so many times its running median, or whose gradient norm
    ``guard_norm`` times its own, or is not finite, goes back to its last good state (0: it does not). It goes on
    with other crops and ``guard_rate`` times the learning rate, for good. A state is good after ``guard_steps`` further
    steps that were well, as the run's first state is. After ``guard_retries`` returns without getting past the
    place where it diverged, the next divergence ends the run.

    ``train_sample``: training pictures that are measured with every validation, as a set called train: what a run
    gains on these alone is overfitting (0: none).

    ``distortion``: mse or ms-ssim; plus ``feature_weight`` times the distance in the frozen network ``features``, with
    LPIPS' ``feature_heads``. ``fixed_lambda``: for models of one rate. ``stochastic_depth``: drop blocks as the model's
    configuration says. ``precision``: bfloat16, float32, or auto, which measures.

    ``start``: a model file, or the name of a shipped model, whose weights the run begins with; a fixed-rate model may
    start one that adds a variable rate, whose gains are then one at ``start_lambda``.

    ``train``: what the optimiser gets. ``model``: networks and nothing else. ``adapter``: the adapter of the table
    ``adapter`` (``kind``, ``name`` and the kind's options) on the frozen model ``start``. ``joint``: both, for a new
    base; without that table, the base alone (full fine-tuning). With ``start``, these two take the configuration from
    its file instead of ``model``. ``beside``: adapter files of the same base, each attached in half of the steps, so
    that the new one learns to be stacked. ``neutral_start``: begin with steering that does (nearly) nothing, unless
    ``start_adapter`` names the file of an adapter of the same kind and options, made for ``start``, to go on from.

    ``objective``: ``rate-distortion``; ``look``, ``region`` (Kao et al.), ``relative-region`` (each map as if its mean
    were one), ``quality`` (a map of trade-offs, Song et al.), ``machine``: for adapters, ``train/losses/steering.py``;
    ``single`` for paper 000's baseline of one perceptual metric, with ``psnr_weight``. The metric of look and single is
    ms-ssim where ``distortion`` says so, else the distance in ``features``, which is also machine's recogniser: its
    distance counts λ ``machine_weight`` (1000 in paper 002's code). On a frozen base of variable rate that should be
    what makes it as large as λ 255² MSE, or adapters ask for another rate than q does, and encoders that are frozen
    give it badly.
    ``masks``: maps that adapters take are ``random`` (``train/data/random_region.py``) or ``ones``, which weighs all of
    every picture alike.
    ``rates``: ends of the rates in [0, 1] that are drawn, one a sample. ``base_lambda``: a base of variable rate is
    held at this trade-off. A base of one rate, or held at one, is trained for ``fixed_lambda``, or, where that is 0,
    for the trade-offs that the adapter's scalar ``rate`` stands for.
    """

    train: Literal["model", "adapter", "joint"] = "model"
    adapter: dict[str, Any] = dataclasses.field(default_factory=dict)
    beside: tuple[str, ...] = ()
    start_adapter: str = ""
    neutral_start: bool = True
    objective: Objective = "rate-distortion"
    psnr_weight: float = 0.1
    machine_weight: float = 1000.0
    masks: Literal["random", "ones"] = "random"
    rates: tuple[float, ...] = (0.0, 1.0)
    base_lambda: float = 0.0

    model: str = "nano"
    data: tuple[str, ...] = ()
    watch: float = 10.0
    memory: float = 0.0
    reuse: int = 32
    share: float = 1.0
    validation: tuple[str, ...] = ()
    validation_every: int = 0
    train_sample: int = 16
    patch: int = 128
    batch: int = 16
    parts: int = 1
    samples: int = 1_000_000
    learning_rate: float = 1e-3
    shortcut_rate: float = 0.03
    warmup: int = 8_000
    rewarm: int = 2_000
    decay: float = 0.2
    clip: float = 1.0
    guard: float = 2.0
    guard_norm: float = 10.0
    guard_rate: float = 0.7
    guard_steps: int = 256
    guard_retries: int = 4
    ema: float = 0.999
    quantisation: Literal["noise", "mixed", "round"] = "mixed"
    distortion: Literal["mse", "ms-ssim"] = "mse"
    features: str = ""
    feature_heads: str = ""
    feature_weight: float = 0.0
    fixed_lambda: float = 0.0
    stochastic_depth: bool = True
    min_scale: float = 0.5
    device: str = "auto"
    precision: Precision = "auto"
    compile: bool = False
    linear_start: bool = True
    start: str = ""
    start_lambda: float = 0.0
    seed: int = 42
    log_every: int = 100
    checkpoint_minutes: float = 5.0
    threads: int = 2

    @staticmethod
    def load(path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        """Read a recipe; ``overrides`` replace its values. Raises UsageError on unknown keys and wrong types."""
        try:
            values = tomllib.loads(Path(path).read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise UsageError(f"recipe {path} cannot be read: {error}") from None
        return Recipe.read(values | (overrides or {}), f"recipe {path}")

    @staticmethod
    def read(values: dict[str, Any], name: str) -> Recipe:
        """Check the values of a recipe called ``name`` in errors. Raises UsageError."""
        values = dict(values)
        fields = {field.name: field for field in dataclasses.fields(Recipe)}
        for key, value in values.items():
            if key not in fields:
                raise UsageError(f"{name}: unknown key {key!r}; known are {', '.join(fields)}")
            field = fields[key]
            default = {} if field.default is dataclasses.MISSING else field.default
            if isinstance(default, tuple):
                values[key] = _listed(value, float if key == "rates" else str, f"{name}: {key}")
            elif isinstance(default, float) and type(value) is int:
                values[key] = float(value)
            elif type(value) is not type(default):
                wanted = type(default).__name__
                raise UsageError(f"{name}: {key} is {value!r}, expected {wanted}")
            if key in _RANGES and not _RANGES[key][0] <= values[key] <= _RANGES[key][1]:
                low, high = _RANGES[key]
                wanted = f"{low} or more" if math.isinf(high) else f"{low} to {high}"
                raise UsageError(f"{name}: {key} is {value}, expected {wanted}")
            if (choices := _CHOICES.get(key)) and values[key] not in choices:
                raise UsageError(f"{name}: {key} is {value!r}, expected one of {', '.join(choices)}")
        recipe = Recipe(**values)
        if recipe.batch < 1 or recipe.parts < 1 or recipe.batch % recipe.parts:
            raise UsageError(f"{name}: a batch of {recipe.batch} does not divide into {recipe.parts} parts")
        if len(recipe.rates) != 2 or not 0 <= recipe.rates[0] <= recipe.rates[1] <= 1:
            raise UsageError(f"{name}: rates is {list(recipe.rates)}, expected two ends in 0..1")
        if recipe.train == "adapter" and not (recipe.adapter and recipe.start):
            raise UsageError(f"{name}: to train an adapter, give a table [adapter] and a base, as start")
        if recipe.train == "model" and (recipe.adapter or recipe.beside or recipe.objective != "rate-distortion"):
            raise UsageError(f'{name}: [adapter], beside and objective are for train = "adapter" or "joint"')
        if (ignored := recipe._ignored()) is not None:
            raise UsageError(f"{name}: {ignored}")
        return recipe

    def changes_since(self, before: dict[str, Any] | None) -> str:
        """In brackets, which values are not those of ``before``, a recipe as checkpoints hold it; else nothing.

        Where data lies and where it is computed does not count.
        """
        now = json.loads(json.dumps(dataclasses.asdict(self)))
        before = json.loads(json.dumps(before or {}))
        changed = [key for key in now if key in before and key not in _ANYWHERE and before[key] != now[key]]
        return f" (changed: {', '.join(f'{key} {before[key]} to {now[key]}' for key in changed)})" if changed else ""

    def _ignored(self) -> str | None:
        """What is given and would do nothing, in a sentence; None where all of it counts."""
        metric = self.objective in ("look", "single")
        plain = self.objective == "rate-distortion"
        reasons = {
            f"objective {self.objective} knows no features: leave them out":
                self.features and self.objective in ("region", "relative-region", "quality"),
            f'objective {self.objective} has one metric: for features, set distortion = "mse"':
                self.features and metric and self.distortion == "ms-ssim",
            "features do nothing without a feature_weight": self.features and plain and not self.feature_weight,
            "feature_heads and feature_weight want features":
                not self.features and (self.feature_heads or self.feature_weight),
            "objective machine takes the features as they are: leave feature_heads out":
                self.feature_heads and self.objective == "machine",
            "start_lambda is the trade-off of the model start: give that too": self.start_lambda and not self.start,
            'base_lambda is for train = "adapter" or "joint"': self.base_lambda and self.train == "model",
            'masks is for train = "adapter" or "joint"': self.masks != "random" and self.train == "model",
            "start_adapter wants its base, as start, and a table [adapter]":
                self.start_adapter and not (self.start and self.adapter),
        }  # fmt: skip
        return next((reason for reason, given in reasons.items() if given), None)


_CHOICES: dict[str, tuple[str, ...]] = {
    "train": ("model", "adapter", "joint"),
    "objective": get_args(Objective),
    "masks": ("random", "ones"),
    "quantisation": ("noise", "mixed", "round"),
    "distortion": METRICS,
    "precision": PRECISIONS,
}

_ANYWHERE = (
    "data", "watch", "memory", "validation", "train_sample", "device", "threads", "log_every", "checkpoint_minutes",
    "start", "start_adapter", "beside", "features", "feature_heads",
)  # fmt: skip

_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("samples", "batch", "parts", "reuse", "log_every", "threads"), (1, math.inf)),
    **dict.fromkeys(("decay", "ema"), (0, 1)),
    "patch": (16, math.inf),
    "min_scale": (0.01, 1),
    "share": (1e-6, 1),
    "clip": (1e-6, math.inf),
    "guard_rate": (0.01, 1),
    "guard_steps": (LOOK_EVERY, math.inf),
    **dict.fromkeys(
        (
            "psnr_weight", "machine_weight", "base_lambda", "fixed_lambda", "start_lambda", "feature_weight", "watch",
            "memory", "validation_every", "train_sample", "guard", "guard_norm", "guard_retries", "learning_rate",
            "shortcut_rate", "warmup", "rewarm", "checkpoint_minutes", "seed",
        ),
        (0, math.inf),
    ),
}  # fmt: skip


def _listed(value: Any, kind: type, what: str) -> tuple[Any, ...]:
    """A list of a recipe, or one value in its place. Raises UsageError for values that are not of this ``kind``."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    wanted = (int, float) if kind is float else (kind,)
    if any(not isinstance(one, wanted) or isinstance(one, bool) for one in values):
        raise UsageError(f"{what} is {value!r}, expected a list of {'numbers' if kind is float else 'strings'}")
    return values
