"""Training adapters: of the adapter alone, on a frozen base, or jointly with the base.

*Adapter* training gives the optimiser the adapter's parameters and nothing else: the base keeps every bit, and what is
trained so can be stacked. *Joint* training (papers 000 and 003, SFT, beta and full fine-tuning, as published) makes a
new base, which has its own fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel, Quantisation
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls

How = Literal["adapter", "joint"]


@dataclass(frozen=True)
class Sample:
    """One batch: pictures x (B, 3, H, W) in [0, 1], what the adapters are asked for, and the base's q (B,) or None."""

    x: Tensor
    controls: Controls
    q: Tensor | None = None


Loss = Callable[[dict[str, Any], Sample], Tensor]


def trainable(model: CompressionModel, adapters: Sequence[Adapter], how: How) -> list[nn.Parameter]:
    """The parameters that an optimiser gets; a frozen base is set to need no gradients.

    Raises UsageError where there is nothing to train.
    """
    if how not in ("adapter", "joint"):
        raise UsageError(f'train is "adapter" or "joint", not {how!r}')
    model.requires_grad_(how == "joint")
    model.train(how == "joint")  # a frozen base is what it will be in use: no stochastic depth
    parameters = [p for adapter in adapters for p in adapter.train().requires_grad_().parameters()]
    if how == "joint":
        parameters += [p for name, p in model.named_parameters() if name != "prior.quantiles"]
    if not parameters:
        names = ", ".join(adapter.name for adapter in adapters)
        raise UsageError(f"there is nothing to train: {names or 'no adapter'} has no parameters")
    return parameters


def fit(
    model: CompressionModel,
    adapters: Sequence[Adapter],
    batches: Callable[[int], Sample],
    loss: Loss,
    steps: int,
    *,
    how: How = "adapter",
    learning_rate: float = 1e-4,
    quantisation: Quantisation = "mixed",
    clip: float = 1.0,
    report: Callable[[int, float], None] | None = None,
) -> None:
    """``steps`` steps of Adam on ``loss`` of ``batches(step)``, the rate falling linearly over the last fifth.

    Leaves everything in evaluation mode and without need of gradients.
    """
    parameters = trainable(model, adapters, how)
    optimiser = torch.optim.Adam(parameters, lr=learning_rate)
    auxiliary = torch.optim.Adam([model.prior.quantiles], lr=1e-3) if how == "joint" else None
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * min(1.0, (steps - step) / max(0.2 * steps, 1))
        sample = batches(step)
        out = model(sample.x, sample.q, quantisation, Attached(model.config, adapters, sample.controls))
        value = loss(out, sample)
        optimiser.zero_grad()
        value.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(parameters, clip)):
            optimiser.step()
        if auxiliary is not None:
            auxiliary.zero_grad()
            model.prior.quantile_loss().backward()
            auxiliary.step()
        if report is not None:
            report(step, value.item())
    for module in (model, *adapters):
        module.eval().requires_grad_(False)
