"""A quantisation step of one's own (Gao et al. 2022), signalled in the file, and its choice for a trade-off."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.model.config import STRIDE
from promptcodec.model.layers.transforms import pad_to_multiple
from promptcodec.model.rate_distortion import rate_distortion
from promptcodec.model.steering import Gains
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls

OCTAVES = 3.0  # steps from 1/8 to 8
OWN_STEP = 0.5  # a width of 1, that of the model itself
_JUDGED_SIDE = 768  # pixels of the part of a picture that its quantisation step is chosen by


class QuantisationStep(Adapter, kind="step"):
    """One step width for all of y, signalled: 2^(3 (2 step - 1)), 1 at the middle. Has no parameters."""

    signals = ("step",)

    def gains(self, signalled: Controls) -> Gains:
        """Return 1 / width before quantisation, the width after it."""
        width = torch.exp2(OCTAVES * (2 * signalled.scalar("step") - 1))[:, None, None, None]
        return Gains(y=1 / width, y_inverse=width)


def step_for(model: CompressionModel, rgb: NDArray[np.uint8], q: float, rate_lambda: float | None) -> float | None:
    """Return the ``step`` of ``QuantisationStep`` for a trade-off; rgb is (H, W, 3), q in [0, 1]. See ``best_step``.

    ``rate_lambda`` None is the trade-off of q; for models of one rate, which know none, the answer is None. Of large
    pictures the middle is looked at.
    """
    device = next(model.parameters()).device
    rate = None
    if model.gain is not None:
        rate = torch.tensor([q], dtype=torch.float32, device=device)
        rate_lambda = float(model.gain.rate_lambda(rate)) if rate_lambda is None else rate_lambda
    if rate_lambda is None:
        return None
    top, left = (max(side - _JUDGED_SIDE, 0) // 2 for side in rgb.shape[:2])
    part = torch.tensor(rgb[top : top + _JUDGED_SIDE, left : left + _JUDGED_SIDE]).to(device)
    return best_step(model, part.permute(2, 0, 1)[None].float() / 255, rate_lambda, rate)


def best_step(
    model: CompressionModel, x: Tensor, rate_lambda: float, q: Tensor | None = None, candidates: int = 13
) -> float:
    """Return the ``step`` of ``QuantisationStep`` whose file costs least at ``rate_lambda``, before any effort.

    x: (1, 3, H, W) in [0, 1]. A model of one rate is so brought near another rate; an effort does the rest.
    """
    adapter, steerer = QuantisationStep(model.config), Attached(model.config, [])
    height, width = x.shape[-2:]
    costs = {}
    with torch.no_grad():
        y, z, steer = model.analyse(pad_to_multiple(x, STRIDE), steerer)  # the width acts behind the analysis
        for i in range(candidates):
            step = i / (candidates - 1)
            gains = adapter.gains(Controls({"step": torch.tensor([step], dtype=torch.float32, device=x.device)}))
            out = model.reconstruct(y, z, model.gains(q).times(gains), "round", steerer, steer)
            out["x_hat"] = out["x_hat"][..., :height, :width]
            measured = rate_distortion(out, x)
            costs[step] = rate_lambda * float(measured.mse) + float(measured.bpp)
    return min(costs, key=costs.__getitem__)
