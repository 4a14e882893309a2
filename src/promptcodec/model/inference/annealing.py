"""Annealed refinement: gradient descent on the latents of one picture, with rounding that sharpens on the way."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from promptcodec.model.inference.latent_cost import LatentCost, Quantised
from promptcodec.model.inference.proximal import ProximalSearch, Report

CHECKED = 10  # after how many steps the latents' cost as a file is looked at
_INSIDE = 0.4  # of a symbol's half unit
_FIRST_TEMPERATURE, _LAST_TEMPERATURE = 0.5, 0.07


@dataclass(frozen=True)
class AnnealedRefinement:
    """Stochastic Gumbel annealing (Yang et al., NeurIPS 2020; Gao et al. 2022) between two proximal searches.

    Adam moves y and z from what the search ``before`` found, put back towards the analysis' own y as far as the symbols
    allow: there gradients know which way is cheap. Latents are rounded down or up at random, with probabilities that
    sharpen. Every ten steps the cost with plain rounding, which a file would have, is looked at; the best seen goes on
    to the search ``after``, so the result is never worse than that of the first search. ``learning_rate`` is in units
    of the symbols. Draws are the same in every run.
    """

    steps: int
    before: ProximalSearch
    after: ProximalSearch
    learning_rate: float = 1e-2

    def __call__(self, cost: LatentCost, y: Tensor, z: Tensor, report: Report = lambda: None) -> Quantised:
        """Start from y and z (gained)."""
        refined = self.before(cost, y, z, report)
        start = refined.y + (y - refined.y).clamp(-_INSIDE, _INSIDE)
        return self.after(cost, *self._annealed(cost, start, z, report), report)

    def _annealed(self, cost: LatentCost, y: Tensor, z: Tensor, report: Report) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(y.device).manual_seed(0)
        least, best = cost.of(cost.quantise(y, z)), (y, z)
        leaves = [y.clone().requires_grad_(), z.clone().requires_grad_()]
        optimiser = torch.optim.Adam(leaves, lr=self.learning_rate)
        for step in range(self.steps):
            cooled = _FIRST_TEMPERATURE * (_LAST_TEMPERATURE / _FIRST_TEMPERATURE) ** (step / self.steps)
            with torch.enable_grad():
                loss = cost.relaxed(
                    leaves[0], leaves[1], lambda v, t=cooled: annealed_rounding(v, t, generator)  # type: ignore[misc]
                )  # fmt: skip
                optimiser.zero_grad()
                loss.backward()
            optimiser.step()
            if (step + 1) % CHECKED == 0 or step + 1 == self.steps:
                here = leaves[0].detach().clone(), leaves[1].detach().clone()
                if (now := cost.of(cost.quantise(*here))) < least:
                    least, best = now, here
            report()
        return best


def annealed_rounding(values: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """Round each value down or up, softly, by a draw of which the nearer is likelier, the more so the lower
    ``temperature``.

    Logits are -atanh of the distance over the temperature; a Gumbel softmax of the same temperature draws.
    """
    low = values.floor()
    distance = (values - low).clamp(1e-5, 1 - 1e-5)
    logit = (torch.atanh(distance) - torch.atanh(1 - distance)) / temperature  # of up against down
    uniform = torch.rand(values.shape, generator=generator, dtype=values.dtype, device=values.device)
    noise = torch.logit(uniform, eps=1e-6)  # the difference of two Gumbel draws is logistic
    return low + torch.sigmoid((logit + noise) / temperature)
