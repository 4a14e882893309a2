"""Devices that networks run on."""

from __future__ import annotations

import torch

from promptcodec.errors import UsageError


def check_device(name: str) -> None:
    """Raise UsageError unless ``name`` is cpu, cuda, cuda:N or mps, and this machine and this torch have it."""
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise UsageError(f"there is no device {name!r}; known are cpu, cuda, cuda:N and mps")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name}: this torch sees {torch.cuda.device_count()} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device mps: this torch or this machine has none")
