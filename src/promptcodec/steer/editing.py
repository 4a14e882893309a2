"""Code editing (Gao et al. 2022): refine the latents of one picture while encoding, for a rate that the base was not
trained for, with a quantisation step of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from promptcodec.model.base import STRIDE, CompressionModel
from promptcodec.model.steering import Gains
from promptcodec.model.transforms import pad_to_multiple
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls

OCTAVES = 3.0  # steps from 1/8 to 8


class QuantisationStep(Adapter, kind="step"):
    """One step width for all of y, signalled: 2^(3 (2 step - 1)), 1 at the middle. Has no parameters."""

    signals = ("step",)

    def gains(self, signalled: Controls) -> Gains:
        """1 / width before quantisation, the width after it."""
        width = torch.exp2(OCTAVES * (2 * signalled.scalar("step") - 1))[:, None, None, None]
        return Gains(y=1 / width, y_inverse=width)


def edit_latents(
    model: CompressionModel,
    x: Tensor,
    rate_lambda: float,
    q: Tensor | None = None,
    attached: Attached | None = None,
    steps: int = 200,
    learning_rate: float = 5e-3,
) -> tuple[Tensor, Tensor]:
    """y and z, before gains, that lower lambda * 255² * MSE + bpp of x (1, 3, H, W), starting from the analysis' own.

    Adam with straight-through rounding: the cost of every step is the one that a file would have, and the best seen is
    returned, so that editing never makes a file worse by the model's own measure.
    """
    steerer = attached or Attached(model.config, [])
    padded = pad_to_multiple(x, STRIDE)
    with torch.no_grad():
        y, z, steer = model.analyse(padded, steerer)
    gains = model.gains(q).times(steer.gains)
    pixels, height, width = x.shape[-2] * x.shape[-1], x.shape[-2], x.shape[-1]

    def cost(y: Tensor, z: Tensor) -> Tensor:
        out = model.reconstruct(y, z, gains, "round", steerer, steer)
        error = out["x_hat"][..., :height, :width] - x
        bits: Tensor = -out["likelihoods"]["y"].log2().sum() - out["likelihoods"]["z"].log2().sum()
        distortion: Tensor = rate_lambda * 255**2 * error.square().mean()
        return distortion + bits / pixels

    with torch.no_grad():
        best, chosen = float(cost(y, z)), (y.clone(), z.clone())
    leaves = [y.clone().requires_grad_(), z.clone().requires_grad_()]
    optimiser = torch.optim.Adam(leaves, lr=learning_rate)
    for _ in range(steps):
        with torch.enable_grad():
            loss = cost(*leaves)
            optimiser.zero_grad()
            loss.backward()
        if loss.item() < best:
            best, chosen = loss.item(), (leaves[0].detach().clone(), leaves[1].detach().clone())
        optimiser.step()
    return chosen
