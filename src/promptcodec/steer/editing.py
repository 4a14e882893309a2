"""Code editing (Gao et al. 2022): refine the latents of one picture while encoding, for the rate that is wanted, with a
quantisation step of its own. Any decoder of the base opens the file; a step other than 1 is signalled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.codec.latents import LATENTS_A_SIDE
from promptcodec.errors import UsageError
from promptcodec.model.base import STRIDE, CompressionModel
from promptcodec.model.steering import Gains, Steerer, Steering
from promptcodec.model.transforms import pad_to_multiple
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls

OCTAVES = 3.0  # steps from 1/8 to 8
CHECKED = 10  # after how many steps the latents' cost as a file is looked at
_FIRST_TEMPERATURE, _LAST_TEMPERATURE = 0.5, 0.07
_MOST_STEPS = 100_000
_JUDGED_SIDE = 768  # pixels of the part of a picture that its quantisation step is chosen by


class QuantisationStep(Adapter, kind="step"):
    """One step width for all of y, signalled: 2^(3 (2 step - 1)), 1 at the middle. Has no parameters."""

    signals = ("step",)

    def gains(self, signalled: Controls) -> Gains:
        """1 / width before quantisation, the width after it."""
        width = torch.exp2(OCTAVES * (2 * signalled.scalar("step") - 1))[:, None, None, None]
        return Gains(y=1 / width, y_inverse=width)


@dataclass(frozen=True)
class Refinement:
    """How latents are refined while a file is made: ``Codec.encode`` takes it.

    ``steps`` of gradient descent for ``rate_lambda`` · 255² MSE + bits per pixel; None is what the model was trained
    for at the wanted quality. Raises UsageError for impossible values.
    """

    steps: int
    rate_lambda: float | None = None
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= _MOST_STEPS:
            raise UsageError(f"a refinement takes 1 to {_MOST_STEPS} steps, not {self.steps}")
        if self.rate_lambda is not None and not 0 < self.rate_lambda < math.inf:
            raise UsageError(f"the trade-off of a refinement is a positive number, not {self.rate_lambda}")

    def __call__(
        self, model: CompressionModel, x: Tensor, q: float, steerer: Steerer
    ) -> tuple[Tensor, Tensor, Steering]:
        """y, z and the encoder's steering of a picture x (1, 3, H, W) in [0, 1], at the rate q in [0, 1].

        Raises UsageError where a model of one rate is not told the trade-off: its file does not hold it.
        """
        rate_lambda, rate = self._trade_off(model, q, x.device)
        with torch.inference_mode(False):  # gradients do not pass what inference mode made
            return edit_latents(
                model, x.clone(), rate_lambda, rate, steerer, steps=self.steps, learning_rate=self.learning_rate
            )

    def best_step(self, model: CompressionModel, rgb: NDArray[np.uint8], q: float) -> float:
        """The ``step`` of ``QuantisationStep`` for the trade-off of the refinement; rgb is (H, W, 3), q in [0, 1].

        Of large pictures it is judged by the middle. Raises UsageError as a call does.
        """
        device = next(model.parameters()).device
        top, left = (max(side - _JUDGED_SIDE, 0) // 2 for side in rgb.shape[:2])
        x = (
            torch.tensor(rgb[top : top + _JUDGED_SIDE, left : left + _JUDGED_SIDE])
            .to(device)
            .permute(2, 0, 1)[None]
            .float()
            / 255
        )
        return best_step(model, x, *self._trade_off(model, q, device))

    def _trade_off(self, model: CompressionModel, q: float, device: torch.device) -> tuple[float, Tensor | None]:
        """λ, and the model's rate, None where it has one rate."""
        rate_lambda, rate = self.rate_lambda, None
        if model.gain is not None:
            rate = torch.tensor([q], device=device)
            rate_lambda = rate_lambda or float(model.gain.rate_lambda(rate))
        if rate_lambda is None:
            raise UsageError(f"{model.config.name} has one rate: a refinement wants to be told the trade-off, its λ")
        return rate_lambda, rate


def edit_latents(
    model: CompressionModel,
    x: Tensor,
    rate_lambda: float,
    q: Tensor | None = None,
    steerer: Steerer | None = None,
    steps: int = 200,
    learning_rate: float = 1e-2,
) -> tuple[Tensor, Tensor, Steering]:
    """y and z, before gains, that lower lambda * 255² * MSE + bpp of x (1, 3, H, W), starting from the analysis' own.

    Where the steerer says that places count differently, squared errors are weighted so.
    Adam with stochastic Gumbel annealing (Yang et al., NeurIPS 2020): latents are rounded down or up at random, with
    probabilities that sharpen. Every ten steps the cost with plain rounding, which a file would have, is looked at, and
    the best seen is returned: editing never makes a file worse by the model's own measure. Draws are the same in every
    run. Also returns the encoder's steering.
    """
    steerer = steerer or Attached(model.config, [])
    with torch.no_grad():
        y, z, steer = model.analyse(pad_to_multiple(x, STRIDE), steerer)
    gains = model.gains(q).times(steer.gains)  # those of a file's adapters are float64, for exactness
    gains = Gains(
        *(g.to(y) if isinstance(g, Tensor) else g for g in (gains.y, gains.y_inverse, gains.z, gains.z_inverse))
    )
    height, width = x.shape[-2:]
    weight = _weight(steerer.importance(), height, width)
    generator = torch.Generator(x.device).manual_seed(0)

    def cost(y: Tensor, z: Tensor, temperature: float | None = None) -> Tensor:
        def anneal(values: Tensor) -> Tensor:
            assert temperature is not None
            return annealed_rounding(values, temperature, generator)

        rounding = None if temperature is None else anneal
        out = model.reconstruct(y, z, gains, "round", steerer, steer, rounding)
        error = out["x_hat"][..., :height, :width] - x
        bits: Tensor = -out["likelihoods"]["y"].log2().sum() - out["likelihoods"]["z"].log2().sum()
        distortion: Tensor = rate_lambda * 255**2 * (weight * error.square()).mean()
        return distortion + bits / (height * width)

    with torch.no_grad():
        best, chosen = float(cost(y, z)), (y.clone(), z.clone())
    leaves = [y.clone().requires_grad_(), z.clone().requires_grad_()]
    optimiser = torch.optim.Adam(leaves, lr=learning_rate)
    for step in range(steps):
        cooled = _FIRST_TEMPERATURE * (_LAST_TEMPERATURE / _FIRST_TEMPERATURE) ** (step / steps)
        with torch.enable_grad():
            loss = cost(leaves[0], leaves[1], cooled)
            optimiser.zero_grad()
            loss.backward()
        optimiser.step()
        if (step + 1) % CHECKED == 0 or step + 1 == steps:
            with torch.no_grad():
                now = float(cost(leaves[0], leaves[1]))
            if now < best:
                best, chosen = now, (leaves[0].detach().clone(), leaves[1].detach().clone())
    return *chosen, steer


def _weight(importance: Tensor | None, height: int, width: int) -> Tensor | float:
    """(1, 1, height, width), one pixel as important as its place."""
    if importance is None:
        return 1.0
    stride = STRIDE // LATENTS_A_SIDE
    pixels = importance.float().repeat_interleave(stride, 2).repeat_interleave(stride, 3)
    return pixels[..., :height, :width]


def annealed_rounding(values: Tensor, temperature: float, generator: torch.Generator | None = None) -> Tensor:
    """Each value down or up, softly, by a draw of which the nearer is likelier, the more so the lower ``temperature``.

    Logits are -atanh of the distance over the temperature; a Gumbel softmax of the same temperature draws.
    """
    low = values.floor()
    distance = (values - low).clamp(1e-5, 1 - 1e-5)
    logit = (torch.atanh(distance) - torch.atanh(1 - distance)) / temperature  # of up against down
    uniform = torch.rand(values.shape, generator=generator, dtype=values.dtype, device=values.device)
    noise = torch.logit(uniform, eps=1e-6)  # the difference of two Gumbel draws is logistic
    return low + torch.sigmoid((logit + noise) / temperature)


def best_step(
    model: CompressionModel, x: Tensor, rate_lambda: float, q: Tensor | None = None, candidates: int = 13
) -> float:
    """The ``step`` of ``QuantisationStep`` whose file costs least at ``rate_lambda``, before any editing.

    x: (1, 3, H, W) in [0, 1]. A model of one rate is so brought near another rate; ``edit_latents`` does the rest.
    """
    adapter, steerer = QuantisationStep(model.config), Attached(model.config, [])
    height, width = x.shape[-2:]
    costs = {}
    with torch.no_grad():
        y, z, steer = model.analyse(pad_to_multiple(x, STRIDE), steerer)  # the width acts behind the analysis
        for i in range(candidates):
            step = i / (candidates - 1)
            own = adapter.gains(Controls({"step": torch.tensor([step], device=x.device)}))
            out = model.reconstruct(y, z, model.gains(q).times(own), "round", steerer, steer)
            bits = -sum(float(p.log2().sum()) for p in out["likelihoods"].values()) / (height * width)
            error = float((out["x_hat"][..., :height, :width] - x).square().mean())
            costs[step] = rate_lambda * 255**2 * error + bits
    return min(costs, key=costs.__getitem__)
