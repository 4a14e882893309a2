"""Adam on the networks, and on the prior's quantiles at a rate of its own; what is not finite changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

QUANTILE_RATE = 1e-3  # facts of all five papers

Groups = list[dict[str, Any]]  # of parameters (``params``), with ``base``, their learning rate at its full height
MakeOptimiser = Callable[[Groups], torch.optim.Optimizer]


def adam(groups: Groups) -> torch.optim.Optimizer:
    """Return the optimiser of all recipes."""
    return torch.optim.Adam(groups, fused=True)


class Optimiser:
    """Both optimisers of ``module``; without a prior there is one. Nothing here waits for the device.

    ``rate``: the learning rate at its full height; the linear shortcut, and gates on it, learn at ``shortcut_rate``
    times as much. ``clip``: the norm that gradients are clipped to. ``make``: another optimiser for the networks.
    """

    def __init__(
        self,
        module: nn.Module,
        rate: float,
        shortcut_rate: float = 0.03,
        clip: float = 1.0,
        make: MakeOptimiser = adam,
    ) -> None:
        quantiles = [p for n, p in module.named_parameters() if n.endswith("prior.quantiles")]
        # What carries the picture itself: a step of Adam moves all of a filter's small weights, or a gate's, at once.
        linear = [(n, p) for n, p in module.named_parameters() if "adapter." not in n]
        slow = [p for n, p in linear if ".shortcut." in n or ".gate." in n]
        apart = {id(p) for p in quantiles + slow}
        rest = [p for p in module.parameters() if id(p) not in apart]
        rates = ((rest, rate), (slow, rate * shortcut_rate))
        self.networks = make([{"params": params, "base": base, "lr": base} for params, base in rates if params])
        self.auxiliary = torch.optim.Adam(quantiles, lr=QUANTILE_RATE, fused=True) if quantiles else None
        self.clip = clip
        self._parameters = [p for group in self.networks.param_groups for p in group["params"]]

    @property
    def _all(self) -> dict[str, torch.optim.Optimizer]:
        both = {"optimiser": self.networks, "auxiliary": self.auxiliary}
        return {key: optimiser for key, optimiser in both.items() if optimiser is not None}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimiser in self._all.values():
            optimiser.zero_grad()

    def step(self, factor: float) -> Tensor:
        """Clip the gradients, and step at ``factor`` times the learning rates. Returns the gradients' norm."""
        for group in self.networks.param_groups:
            group["lr"] = group["base"] * factor
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.clip)
        for optimiser in self._all.values():
            # What GradScaler sets for fused optimisers: they skip the step on the device, where `if` would wait for it.
            if optimiser.defaults.get("fused"):
                optimiser.found_inf = (~torch.isfinite(norm)).float()  # type: ignore[attr-defined]
            optimiser.step()
        return norm

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs."""
        return {key: optimiser.state_dict() for key, optimiser in self._all.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from ``state``, at the learning rates of the recipe in force."""
        for key, optimiser in self._all.items():
            settings = [{k: v for k, v in g.items() if k != "params"} for g in optimiser.param_groups]
            optimiser.load_state_dict(state[key])
            for group, values in zip(optimiser.param_groups, settings, strict=True):
                group.update(values)
