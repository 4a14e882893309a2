"""Validation: rate and quality with real rounding, at fixed rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.train.objective import rate_distortion

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def validate(
    model: CompressionModel, pictures: Sequence[NDArray[np.uint8]], qs: Sequence[float] = QUALITIES
) -> list[dict[str, float]]:
    """Mean bpp and PSNR over pictures (H, W, 3 uint8) at each q; bits are the model's estimate.

    A model of one rate gets one row, with q = 0. The model is left in evaluation mode.
    """
    rows = []
    model.eval()
    device = next(model.parameters()).device
    for q in qs if model.gain is not None else [0.0]:
        figures = []
        for picture in pictures:
            x = torch.tensor(picture).permute(2, 0, 1)[None].to(device).float() / 255
            rate = torch.tensor([q], device=device) if model.gain is not None else None
            out = model(x, rate, "round")
            out["x_hat"] = _to_levels(out["x_hat"])
            result = rate_distortion(out, x)
            figures.append((result.bpp.item(), result.psnr.item()))
        bpp, psnr = np.mean(figures, axis=0)
        rows.append({"q": q, "bpp": round(float(bpp), 4), "psnr": round(float(psnr), 3)})
    return rows


def _to_levels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255
