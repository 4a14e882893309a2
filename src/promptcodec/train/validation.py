"""Validation: rate and quality with real rounding, at fixed rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.losses.objective import rate_distortion
from promptcodec.train.steered import Steered

QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)


@torch.no_grad()
def validate(
    model: CompressionModel, pictures: Sequence[NDArray[np.uint8]], qs: Sequence[float] = QUALITIES
) -> list[dict[str, float]]:
    """Mean bpp and PSNR over pictures (H, W, 3 uint8) at each q; bits are the model's estimate.

    A model of one rate gets one row, with q = 0. The model is left in evaluation mode.
    """
    model.eval()
    device = next(model.parameters()).device
    rows = []
    for q in qs if model.gain is not None else [0.0]:
        rate = torch.tensor([q], device=device) if model.gain is not None else None

        def one(x: Tensor, rate: Tensor | None = rate) -> dict[str, Any]:
            return model(x, rate, "round")  # type: ignore[no-any-return]

        rows.append({"q": q} | _row(one, pictures, device))
    return rows


@torch.no_grad()
def validate_steered(
    steered: Steered, held: float | None, pictures: Sequence[NDArray[np.uint8]]
) -> list[dict[str, float]]:
    """As ``validate``, steered: by the rate, at looks 0 and 1 where the adapter takes one, other scalars in the middle,
    and with all of the picture as the region. ``held``: the rate that the base keeps.
    """
    base, adapter = steered.eval().network, steered.adapter
    device = next(base.parameters()).device
    takes = adapter.takes if adapter is not None else set()
    follows = "rate" in takes or (base.gain is not None and held is None)
    rows = []
    for q in QUALITIES if follows else [0.0]:
        for look in (0.0, 1.0) if "look" in takes else (0.0,):
            scalars = {name: torch.full((1,), 0.5, device=device) for name in takes}
            scalars |= {"rate": torch.full((1,), q, device=device), "look": torch.full((1,), look, device=device)}
            rate = None if base.gain is None else torch.full((1,), q if held is None else held, device=device)

            def one(x: Tensor, scalars: dict[str, Tensor] = scalars, rate: Tensor | None = rate) -> dict[str, Any]:
                whole = {name: torch.ones_like(x[:, :1]) for name in (adapter.maps if adapter is not None else ())}
                attached = Attached(base.config, [adapter] if adapter is not None else [], Controls(scalars, whole))
                return base(x, rate, "round", attached)  # type: ignore[no-any-return]

            asked = {"q": q, "look": look} if "look" in takes else {"q": q}
            rows.append(asked | _row(one, pictures, device))
    return rows


def _row(
    codec: Callable[[Tensor], dict[str, Any]], pictures: Sequence[NDArray[np.uint8]], device: torch.device
) -> dict[str, float]:
    figures = []
    for picture in pictures:
        x = torch.tensor(picture).permute(2, 0, 1)[None].to(device).float() / 255
        out = codec(x)
        out["x_hat"] = _to_levels(out["x_hat"])
        result = rate_distortion(out, x)
        figures.append((result.bpp.item(), result.psnr.item()))
    bpp, psnr = np.mean(figures, axis=0)
    return {"bpp": round(float(bpp), 4), "psnr": round(float(psnr), 3)}


def _to_levels(x: Tensor) -> Tensor:
    return (x.clamp(0, 1) * 255).round() / 255
