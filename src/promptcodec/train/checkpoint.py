"""Checkpoints of a training run: safetensors and JSON, written atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

NAME = "checkpoint.safetensors"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts and lists of tensors and plain values) under a temporary name and rename it."""
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    temporary = folder / (NAME + ".tmp")
    save_file(tensors, temporary, metadata={"state": json.dumps(plain)})
    temporary.replace(folder / NAME)


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """The state in ``folder``, None where it has no checkpoint."""
    if not (folder / NAME).is_file():
        return None
    with safe_open(folder / NAME, "pt") as file:
        state: dict[str, Any] = _join(json.loads(file.metadata()["state"]), file)
    return state


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().clone().contiguous()  # channels_last strides do not survive; values do
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[k, _split(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _join(node: dict[str, Any], file: Any) -> Any:
    if "tensor" in node:
        tensor: Tensor = file.get_tensor(node["tensor"])
        return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    if "dict" in node:
        return {k: _join(v, file) for k, v in node["dict"]}
    return [_join(v, file) for v in node["list"]] if "list" in node else node["value"]
