"""Training recipes: what one run is made of, in one frozen dataclass."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal

from promptcodec.model.inference.precision import Precision


@dataclass(frozen=True)
class Recipe:
    """One training run: the values of a recipe file, whose sections are those of ``SECTIONS``.

    Schedules are in samples (crops seen), so that runs of any length and batch compare.

    ``[model]``: ``start`` is a model file, or the name of a shipped model, whose weights the run begins with; a
    fixed-rate model may start one that adds a variable rate, whose gains are then one at ``start_lambda``.
    ``stochastic_depth``: drop blocks as the model's configuration says.

    ``[data]``: folders or tar files of pictures; what arrives in them during the run is taken up, looked for every
    ``watch`` seconds (0: never). Addresses of tar files are read as a stream: ``https://host/shard-{000..127}.tar``,
    s3:// and others through fsspec. ``memory``: GiB of decoded pictures to hold (0: all, of streams 4); beyond it, each
    picture serves ``reuse`` crops before the next takes its place. ``share``: of the pictures, evenly spread over them,
    that are used (paper 001, Fig. 8: how few do). ``patch``: side of the crops in pixels. ``crops`` are ``augmented``,
    half of them scaled down to ``min_scale`` at least, flipped, and a share of them ``transposed``, or ``plain``, none
    of that. ``validation``: folders or tar files, each a set, measured every ``validation_every`` samples (0: only at
    the end). ``train_sample``: training pictures that are measured with them, as a set called train: what a run gains
    on these alone is overfitting (0: none).

    ``[schedule]``: ``batch`` crops in one step, cut into ``parts`` that are computed one after the other, or by as many
    processes. ``samples``: crops of the whole run. The learning rate rises over ``warmup`` samples, and falls to zero
    over the last ``decay`` (a share) of them; ``rewarm``: samples of a second warm-up where a run goes on without its
    optimiser's moments.

    ``[loss]``: ``distortion`` is mse or ms-ssim; plus ``feature_weight`` times the distance in the frozen network
    ``features``, with LPIPS' ``feature_heads``. ``fixed_lambda``: for models of one rate. ``objective``, one of
    ``LOSSES``: ``rate-distortion``; ``look``, ``region`` (Kao et al.), ``relative-region`` (each map as if its mean
    were one), ``quality`` (a map of trade-offs, Song et al.) and ``machine`` for adapters, see
    ``train/losses/steering.py``; ``single`` for paper 000's baseline of one perceptual metric, LPIPS with the squared
    error at ``psnr_weight`` of its weight at look 0 beside it, MS-SSIM without. ``sample_weights``: ``sqrt-lambda``
    divides the loss of each sample by √λ (of look and single, whose rate counts R_λ = 0.01 / λ, multiplies it by √λ),
    so that all rates count alike; ``equal`` takes losses as the papers write them.
    The metric of look and single is ms-ssim where ``distortion`` says so, else the distance in ``features``, which is
    also machine's recogniser: a weight file, the name of a recogniser (``promptcodec.tasks.registry``), or
    ``FILE.py:CLASS``, whose code is run. With ``feature_scale`` rms, each level of its features is divided by its root
    mean square over the first crops (none: not, as in paper 002's code). Their distance counts λ ``machine_weight``
    (1000 in that code); ``auto`` measures what makes it as large as λ 255² MSE on the base, so that q keeps its meaning
    as well as one constant allows. Both are stored with the adapter. ``rates``: ends of the rates in [0, 1] that are
    drawn, one a sample.
    ``base_lambda``: the trade-off that a base of variable rate is fixed at. A base of one rate, or fixed at one, is
    trained for ``fixed_lambda``, or, where that is 0, for the trade-offs that the adapter's scalar ``rate`` stands for.

    ``[adapter]``: ``kind``, ``name`` and the kind's options. ``neutral_start``: begin with steering that does (nearly)
    nothing, unless ``start_adapter`` names the file of an adapter of the same kind and options, made for ``start``, to
    go on from. ``co_adapters``: adapter files of the same base, each attached in half of the steps, so that the new one
    learns to be stacked. ``masks``: maps that adapters take are ``random`` (``train/data/random_region.py``) or
    ``ones``, which weighs all of every picture alike.

    ``[run]``: ``train`` is what the optimiser gets. ``model``: networks and nothing else. ``adapter``: the adapter on
    the frozen model ``start``. ``joint``: both, for a new base; without an adapter, the base alone (full fine-tuning).
    With ``start``, these two take the configuration from its file instead of the model's name. ``precision``: bfloat16,
    float32, or auto, which measures. ``guard``: a run whose median loss of 16 steps exceeds so many times its running
    median, or whose gradient norm ``guard_norm`` times its own, or is not finite, goes back to its last good state (0:
    it does not). It goes on with other crops and ``guard_rate`` times the learning rate, for good. A state is good
    after ``guard_steps`` further steps that were well, as the run's first state is. After ``guard_retries`` returns
    without getting past the place where it diverged, the next divergence ends the run.
    """

    train: Literal["model", "adapter", "joint"] = "model"
    adapter: dict[str, Any] = dataclasses.field(default_factory=dict)
    co_adapters: tuple[str, ...] = ()
    start_adapter: str = ""
    neutral_start: bool = True
    objective: str = "rate-distortion"
    psnr_weight: float = 0.1
    sample_weights: Literal["sqrt-lambda", "equal"] = "sqrt-lambda"
    machine_weight: float | Literal["auto"] = "auto"
    feature_scale: Literal["rms", "none"] = "rms"
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
    crops: Literal["augmented", "plain"] = "augmented"
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
    transposed: float = 0.0
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

    @property
    def steers(self) -> bool:
        """Whether it trains steering, or a base as one to be steered."""
        return self.train != "model"

    def changes_since(self, before: dict[str, Any] | None) -> str:
        """Say in brackets which values are not those of ``before``, a recipe as checkpoints hold it; else nothing.

        Where data lies and where it is computed does not count.
        """
        now = json.loads(json.dumps(dataclasses.asdict(self)))
        before = json.loads(json.dumps(before or {}))
        changed = [key for key in now if key in before and key not in _ANYWHERE and before[key] != now[key]]
        return f" (changed: {', '.join(f'{key} {before[key]} to {now[key]}' for key in changed)})" if changed else ""


SECTIONS: dict[str, tuple[str, ...]] = {
    "model": ("model", "start", "start_lambda", "linear_start", "stochastic_depth"),
    "data": (
        "data", "watch", "memory", "reuse", "share", "patch", "crops", "min_scale", "transposed", "validation",
        "validation_every", "train_sample",
    ),
    "schedule": (
        "samples", "batch", "parts", "learning_rate", "shortcut_rate", "warmup", "rewarm", "decay", "clip", "ema",
    ),
    "loss": (
        "objective", "distortion", "features", "feature_heads", "feature_weight", "psnr_weight", "sample_weights",
        "machine_weight", "feature_scale", "fixed_lambda", "base_lambda", "rates", "quantisation",
    ),
    "adapter": ("adapter", "start_adapter", "neutral_start", "co_adapters", "masks"),
    "run": (
        "train", "seed", "device", "precision", "compile", "threads", "log_every", "checkpoint_minutes", "guard",
        "guard_norm", "guard_rate", "guard_steps", "guard_retries",
    ),
}  # fmt: skip
"""The fields by section of a recipe file."""

_ANYWHERE = (
    "data", "watch", "memory", "validation", "train_sample", "device", "threads", "log_every", "checkpoint_minutes",
    "start", "start_adapter", "co_adapters", "features", "feature_heads",
)  # fmt: skip
