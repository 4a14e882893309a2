"""What a recogniser's features count in a loss: each level alike, and all of them as much as the squared error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from promptcodec.train.losses.steering import Features

Reconstruct = Callable[[Tensor], Tensor]  # of (B, 3, H, W) in [0, 1], what the base makes of it

AUTO = "auto"


class FeatureBalance(nn.Module):
    """Two constants of a run, which its checkpoints keep: ``scales`` (levels,), which the differences of each level are
    divided by, and ``weight``, which their mean counts times λ. Ones, and 1 or the ``weight`` that the recipe states,
    until ``measure``.
    """

    scales: Tensor
    weight: Tensor

    def __init__(self, levels: int, scale: Literal["rms", "none"] = "rms", weight: float | str = AUTO) -> None:
        super().__init__()
        self._scaled, self._automatic = scale == "rms", weight == AUTO
        self.register_buffer("scales", torch.ones(levels))
        self.register_buffer("weight", torch.tensor(1.0 if self._automatic else float(weight)))

    @torch.no_grad()
    def measure(
        self, features: Features, batches: Iterable[Tensor], reconstruct: Reconstruct, level: int | None = None
    ) -> None:
        """Set what the recipe leaves to be measured, on ``batches`` of crops (B, 3, H, W) in [0, 1].

        A level's scale is the root mean square of its features of the crops. The weight makes the features' error of
        ``reconstruct`` as large as its squared error on the scale of 255: in the mean over the logarithms, since both
        fall by orders of magnitude from the lowest rate to the highest. ``level``: only this one counts.
        """
        batches = list(batches)
        if self._scaled:
            powers = [torch.stack([f.float().square().mean() for f in features(batch)]) for batch in batches]
            self.scales.copy_(torch.stack(powers).mean(0).sqrt().clamp_min(1e-6))
        if self._automatic:
            ratios = []
            for batch in batches:
                x_hat = reconstruct(batch).clamp(0, 1)
                errors = 255**2 * (x_hat - batch).square().flatten(1).mean(1)
                distance = self.distance(features, x_hat, batch, level)
                ratios.append((errors.clamp_min(1e-6) / distance.clamp_min(1e-12)).log())
            self.weight.fill_(float(torch.cat(ratios).mean().exp()))

    def distance(self, features: Features, x_hat: Tensor, x: Tensor, level: int | None = None) -> Tensor:
        """Compute the mean square of the scaled differences a level, then the mean of the levels, or of one, (B,).

        ``x_hat``, ``x``: (B, 3, H, W) in [0, 1], which the caller clamps. Gradients reach ``x_hat`` alone.
        """
        with torch.no_grad():
            target = features(x)
        levels = [
            ((a - b) / scale).square().flatten(1).mean(1)
            for a, b, scale in zip(features(x_hat), target, self.scales, strict=True)
        ]
        return torch.stack(levels).mean(0) if level is None else levels[level]

    def described(self) -> dict[str, Any]:
        """Return both as values for JSON."""
        return {
            "feature_scales": [round(float(s), 6) for s in self.scales],
            "machine_weight": round(float(self.weight), 4),
        }
