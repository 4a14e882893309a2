"""Checkpoints of a training run: safetensors and JSON in one file, written atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write

NAME = "checkpoint.safetensors"


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state`` (nested dicts and lists of tensors and plain values) in place of the folder's checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / NAME, overwrite=True) as file:
        file.write(to_bytes(state))


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the state in ``folder``, None where it has no checkpoint. Raises UsageError for files that are none."""
    if not (folder / NAME).is_file():
        return None
    try:
        return from_bytes((folder / NAME).read_bytes())
    except UsageError as error:
        raise UsageError(f"{folder / NAME}: {error}") from None


def to_bytes(state: dict[str, Any]) -> bytes:
    """Return ``state`` as a safetensors file whose metadata say where its tensors belong."""
    tensors: dict[str, Tensor] = {}
    plain = _split(state, "", tensors)
    return save(tensors, metadata={"state": json.dumps(plain)})


def from_bytes(data: bytes) -> dict[str, Any]:
    """Read what ``to_bytes`` made; tensors are on the CPU. Raises UsageError for anything else."""
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        state: dict[str, Any] = _join(json.loads(header["__metadata__"]["state"]), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"this is no checkpoint, or a damaged one ({error})") from None
    return state


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        # Clones, for averages and weights may share memory; channels_last strides do not survive, values do.
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[k, _split(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _join(node: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    if "tensor" in node:
        tensor = tensors[node["tensor"]]
        return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
    if "dict" in node:
        return {k: _join(v, tensors) for k, v in node["dict"]}
    return [_join(v, tensors) for v in node["list"]] if "list" in node else node["value"]
