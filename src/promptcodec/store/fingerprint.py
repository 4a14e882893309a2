"""Fingerprints of models, taken over their tensors as stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

PROBABILITY_PREFIXES = ("h_s.", "context.", "gain.y", "gain.z_inverse", "prior.quantiles", "tables.")
PIXEL_PREFIXES = ("g_s.", "gain.y_inverse")


def probability_fingerprint(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> bytes:
    """Return 8 bytes over all that decides a probability or a mean: must be equal for a file to decode."""
    chosen = {k: v for k, v in tensors.items() if k.startswith(PROBABILITY_PREFIXES) and k != "gain.y_inverse"}
    decisive = {k: config[k] for k in ("hyper_synthesis", "scale", "gain", "context") if k in config}
    return _digest(chosen, decisive)[:8]


def pixel_fingerprint(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> bytes:
    """Return 4 bytes over the synthesis: another one decodes the same latents to other pixels."""
    chosen = {k: v for k, v in tensors.items() if k.startswith(PIXEL_PREFIXES)}
    return _digest(chosen, {"synthesis": config["synthesis"]})[:4]


def _digest(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> bytes:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.digest()
