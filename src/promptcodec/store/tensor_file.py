"""Safetensors files whose metadata names our format: what model files and adapter files have in common."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from promptcodec.errors import ModelMismatchError
from promptcodec.system.utf8_path import utf8_path


def read_tensor_file(path: str | Path, kind: str, format: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read metadata and tensors of a file of this ``format``; ``kind``, model or adapter, is for messages.

    Raises ModelMismatchError where the file is missing, damaged or of another format.
    """
    try:
        with utf8_path(path) as name, safe_open(name, "pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ModelMismatchError(f"{kind} file {path} cannot be read: {error}") from None
    if metadata.get("format") != format:
        stated = metadata.get("format", f"no promptcodec {kind} at all")
        raise ModelMismatchError(f"{kind} file {path}: found {stated}, expected {format}")
    return metadata, tensors
