"""Checkpoints that travel: weights and their average in two bytes each, in parts of at most 16 MiB.

The optimiser's moments stay behind (they are four times as large) and are built again by a short warm-up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from promptcodec.train.run.checkpoint import from_bytes, to_bytes
from promptcodec.train.run.shards import complete, read_shards, write_shards

LEFT_BEHIND = ("optimiser", "auxiliary")


def save_portable(folder: Path, state: dict[str, Any]) -> None:
    """Write a trainer's ``state`` into ``folder`` without its moments."""
    portable: dict[str, Any] = {k: v for k, v in state.items() if k not in LEFT_BEHIND}
    for key in ("model", "average"):
        portable[key] = {name: _to_two_bytes(value) for name, value in state[key].items()}
    write_shards(folder, to_bytes(portable))


def load_portable(folder: Path) -> dict[str, Any] | None:
    """Return a state without moments, weights in float32; None where the folder has none.

    Raises UsageError if damaged.
    """
    if not complete(folder):
        return None
    state = from_bytes(read_shards(folder))
    for key in ("model", "average"):
        state[key] = {name: value.float() if value.is_floating_point() else value for name, value in state[key].items()}
    return state


def _to_two_bytes(tensor: Tensor) -> Tensor:
    """Return half precision, which rounds eight times finer; bfloat16 where a value exceeds its range."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.detach().half()
    return half if torch.isfinite(half).all() else tensor.detach().bfloat16()
