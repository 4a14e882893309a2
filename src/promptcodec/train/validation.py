"""Measure rate and quality with real rounding, at fixed rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.model.rate_distortion import rate_distortion

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)

Rows = list[dict[str, float]]


@torch.no_grad()
def validate(model: CompressionModel, pictures: Sequence[NDArray[np.uint8]], qs: Sequence[float] = QUALITIES) -> Rows:
    """Measure mean bpp and PSNR over pictures (H, W, 3 uint8) at each q; bits are the model's estimate.

    A model of one rate gets one row, with q = 0. The model is left in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    rows = []
    for q in qs if model.gain is not None else [0.0]:
        rate = torch.tensor([q], device=device) if model.gain is not None else None

        def code(x: Tensor, rate: Tensor | None = rate) -> dict[str, Any]:
            return model(x, rate, "round")  # type: ignore[no-any-return]

        rows.append({"q": q} | measure(code, pictures, device))
    return rows


def measure(
    code: Callable[[Tensor], dict[str, Any]], pictures: Sequence[NDArray[np.uint8]], device: torch.device
) -> dict[str, float]:
    """Measure mean bpp and PSNR of ``code``, which gives for x (1, 3, H, W) what ``CompressionModel.forward`` does."""
    figures = []
    for picture in pictures:
        x = torch.tensor(picture).permute(2, 0, 1)[None].to(device).float() / 255
        out = code(x)
        out["x_hat"] = (out["x_hat"].clamp(0, 1) * 255).round() / 255
        measured = rate_distortion(out, x)
        figures.append((measured.bpp.item(), measured.psnr.item()))
    bpp, psnr = np.mean(figures, axis=0)
    return {"bpp": round(float(bpp), 4), "psnr": round(float(psnr), 3)}
