"""Latent refinement: what an effort does in the place of a plain analysis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.model.effort import ANNEALING_STEPS, POLISHING_STEPS, PROXIMAL_STEPS, Effort
from promptcodec.model.inference.annealing import AnnealedRefinement
from promptcodec.model.inference.latent_cost import LatentCost
from promptcodec.model.inference.proximal import ProximalSearch
from promptcodec.model.steering import Steerer, Steering


def refined_latents(
    model: CompressionModel, x: Tensor, q: float, steerer: Steerer, effort: Effort, report: Callable[[], None]
) -> tuple[Tensor, Tensor, Steering]:
    """Return y, z and the encoder's steering of a picture x (1, 3, H, W) in [0, 1], at the rate q in [0, 1].

    ``report`` is called ``effort.steps`` times. An effort of level 0 is not for this.
    """
    with torch.inference_mode(False):  # gradients do not pass what inference mode made
        rate = None if model.gain is None else torch.tensor([q], dtype=torch.float32, device=x.device)
        cost = LatentCost(model, x.clone(), rate, steerer, effort.rate_lambda)
        if not cost.has_trade_off:
            return cost.latents(cost.y, cost.z)
        best = _search(effort.level)(cost, cost.y, cost.z, report)
        return cost.latents(best.y, best.z)


def _search(level: int) -> ProximalSearch | AnnealedRefinement:
    if (annealing := ANNEALING_STEPS.get(level)) is not None:
        return AnnealedRefinement(annealing, ProximalSearch(PROXIMAL_STEPS[-1]), ProximalSearch(POLISHING_STEPS))
    return ProximalSearch(PROXIMAL_STEPS[level - 1])
