"""The training loop: one process, checkpointed, resumed bit-exactly on the CPU."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.presets import PRESETS
from promptcodec.train.checkpoint import load_checkpoint, save_checkpoint
from promptcodec.train.data import CropSampler, load_pictures
from promptcodec.train.linear_start import linear_start
from promptcodec.train.objective import rate_distortion
from promptcodec.train.recipe import Recipe
from promptcodec.zoo.model_file import load_model
from promptcodec.zoo.shipped import find_model


class Trainer:
    """Model, its moving average, optimisers and sampler of one run; ``folder`` holds log and checkpoints."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        if recipe.model not in PRESETS:
            raise UsageError(f"unknown model {recipe.model!r}; known are {', '.join(PRESETS)}")
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.recipe, self.folder = recipe, folder
        self.step = self.samples = 0  # batches and crops seen: a run may go on with another batch size
        self.model = channels_last(CompressionModel(PRESETS[recipe.model]()))
        if (self.model.gain is None) != (recipe.fixed_lambda > 0):
            raise UsageError(f"model {recipe.model} needs fixed_lambda {'> 0' if self.model.gain is None else '= 0'}")
        pictures = load_pictures(recipe.data, recipe.patch, recipe.threads)
        self.sampler = CropSampler(pictures, recipe.patch, recipe.min_scale, recipe.seed)
        if recipe.start:
            self.model.load_state_dict(_weights(recipe.start, self.model))
        elif recipe.linear_start:
            linear_start(self.model, self.sampler.batch(-1 % 2**32, 1024))
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.optimiser, self.auxiliary = self._optimisers()

    def _optimisers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        rate = self.recipe.learning_rate
        quantiles = [self.model.prior.quantiles]
        slow = [p for n, p in self.model.named_parameters() if ".shortcut." in n]
        taken = {id(p) for p in quantiles + slow}
        rest = [p for p in self.model.parameters() if id(p) not in taken]
        groups = [{"params": rest, "base": rate}, {"params": slow, "base": rate * self.recipe.shortcut_rate}]
        groups = [g for g in groups if g["params"]]
        return torch.optim.Adam(groups, lr=rate, fused=True), torch.optim.Adam(quantiles, lr=1e-3)

    def rate_factor(self) -> float:
        """Warm-up, constant, then linear decay to zero over the last ``decay`` of the samples."""
        recipe = self.recipe
        left = (recipe.samples - self.samples) / (recipe.decay * recipe.samples) if recipe.decay else 1.0
        return min(1.0, (self.samples + recipe.batch) / max(recipe.warmup, 1), max(left, 0.0))

    def train_step(self) -> dict[str, float]:
        """One batch; returns its mean figures."""
        recipe, model = self.recipe, self.model
        model.train()
        torch.manual_seed(recipe.seed * 1_000_003 + self.step)
        x = self.sampler.batch(self.step, recipe.batch).contiguous(memory_format=torch.channels_last)
        q = None
        if model.gain is not None:  # stratified: every batch sees all rates
            q = (torch.arange(recipe.batch) + torch.rand(())) / recipe.batch
            rate_lambda = model.gain.rate_lambda(q)
        else:
            rate_lambda = torch.full((recipe.batch,), recipe.fixed_lambda)
        factor = self.rate_factor()
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * factor
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.autocast):
            out = model(x, q, recipe.quantisation)
        result = rate_distortion(out, x, rate_lambda)
        self.optimiser.zero_grad()
        self.auxiliary.zero_grad()
        result.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            self.optimiser.step()
            model.prior.quantile_loss().backward()
            self.auxiliary.step()
        self.step += 1
        self.samples += recipe.batch
        decay = min(recipe.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            keys = [k for k, v in self.average.items() if v.is_floating_point()]
            state = model.state_dict()
            torch._foreach_lerp_([self.average[k] for k in keys], [state[k] for k in keys], 1 - decay)
        return {"loss": result.loss.item(), "bpp": result.bpp.mean().item(), "mse": result.mse.mean().item(),
                "norm": norm.item(), "rate": factor}  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Everything that a bit-exact continuation needs."""
        return {"step": self.step, "samples": self.samples, "model": self.model.state_dict(), "average": self.average,
                "optimiser": self.optimiser.state_dict(), "auxiliary": self.auxiliary.state_dict(),
                "recipe": dataclasses.asdict(self.recipe)}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``."""
        self.step, self.samples = state["step"], state["samples"]
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.auxiliary.load_state_dict(state["auxiliary"])

    def run(self, max_seconds: float = math.inf, report: Callable[[dict[str, float]], None] | None = None) -> None:
        """Train to the end of the recipe, to ``max_seconds``, or to SIGTERM or Ctrl-C; always leaves a checkpoint."""
        stop = _StopSignal()
        start = saved = time.monotonic()
        sums: dict[str, float] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        with stop, (self.folder / "log.jsonl").open("a") as log:
            while self.samples < self.recipe.samples and not stop.received:
                for key, value in self.train_step().items():
                    sums[key] = sums.get(key, 0.0) + value
                now = time.monotonic()
                if self.step % self.recipe.log_every == 0:
                    row = {k: round(v / self.recipe.log_every, 6) for k, v in sums.items()}
                    row |= {"step": self.step, "samples": self.samples, "seconds": round(now - start, 1)}
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    sums = {}
                    if report is not None:
                        report(row)
                if now - saved > 60 * self.recipe.checkpoint_minutes:
                    save_checkpoint(self.folder, self.state())
                    saved = time.monotonic()
                if now - start > max_seconds:
                    break
            save_checkpoint(self.folder, self.state())

    def resume(self) -> bool:
        """Continue from the folder's checkpoint; False where there is none."""
        state = load_checkpoint(self.folder)
        if state is not None:
            self.restore(state)
        return state is not None


def _weights(name: str, model: CompressionModel) -> dict[str, Tensor]:
    """State of the model file or shipped model ``name``. Raises UsageError where it is another configuration."""
    stored = load_model(find_model(name)).network
    if stored.config != model.config:
        raise UsageError(f"{name} cannot start this run: its configuration is not that of {model.config.name}")
    return stored.state_dict()


@torch.no_grad()
def validate(model: CompressionModel, pictures: list[np.ndarray], qs: list[float]) -> list[dict[str, float]]:
    """Mean bpp and PSNR over pictures (H, W, 3 uint8) at each q, with real rounding; bits are the model's estimate."""
    rows = []
    model.eval()
    for q in qs:
        figures = []
        for picture in pictures:
            x = torch.tensor(picture).permute(2, 0, 1)[None].float() / 255
            rate = torch.tensor([q]) if model.gain is not None else None
            out = model(x, rate, "round")
            out["x_hat"] = _to_levels(out["x_hat"])
            result = rate_distortion(out, x, torch.ones(1))
            figures.append((result.bpp.item(), result.psnr.item()))
        bpp, psnr = np.mean(figures, axis=0)
        rows.append({"q": q, "bpp": round(float(bpp), 4), "psnr": round(float(psnr), 3)})
    return rows


def _to_levels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255


class _StopSignal:
    """Catches SIGTERM and SIGINT so that the step in hand ends and a checkpoint is written."""

    received = False

    def __enter__(self) -> None:
        self._old = {s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)}

    def _catch(self, *_: object) -> None:
        self.received = True

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
