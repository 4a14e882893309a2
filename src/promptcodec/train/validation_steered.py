"""Measure rate and quality of a base that is steered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.train.steered import Steered
from promptcodec.train.validation import QUALITIES, Rows, measure


@torch.no_grad()
def validate_steered(steered: Steered, fixed_q: float | None, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
    """Measure as ``validate`` does, steered: by the rate, at looks 0 and 1 where the adapter takes one, with other
    scalars in the middle, and with all of the picture as the region. ``fixed_q``: the rate that the base keeps.
    """
    base, adapter = steered.eval().network, steered.adapter
    device = next(base.parameters()).device
    takes = adapter.takes if adapter is not None else set()
    follows = "rate" in takes or (base.gain is not None and fixed_q is None)
    rows = []
    for q in QUALITIES if follows else [0.0]:
        for look in (0.0, 1.0) if "look" in takes else (0.0,):
            scalars = {name: torch.full((1,), 0.5, device=device) for name in takes}
            scalars |= {"rate": torch.full((1,), q, device=device), "look": torch.full((1,), look, device=device)}
            rate = None if base.gain is None else torch.full((1,), q if fixed_q is None else fixed_q, device=device)

            def code(x: Tensor, scalars: dict[str, Tensor] = scalars, rate: Tensor | None = rate) -> dict[str, Any]:
                whole = {name: torch.ones_like(x[:, :1]) for name in (adapter.maps if adapter is not None else ())}
                attached = Attached(base.config, [adapter] if adapter is not None else [], Controls(scalars, whole))
                return base(x, rate, "round", attached)  # type: ignore[no-any-return]

            place = {"q": q, "look": look} if "look" in takes else {"q": q}
            rows.append(place | measure(code, pictures, device))
    return rows
