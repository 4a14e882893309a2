"""Model files: one safetensors file with half-precision weights, integer tables, configuration and fingerprints.

What is stored *is* the model: tables and fingerprints are made from the tensors after rounding to half precision.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from promptcodec.bitstream.tables import FrequencyTables
from promptcodec.errors import ModelMismatchError, PromptcodecError, UsageError
from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.model.config import Model
from promptcodec.model.inference.defaults import about_to_load, default_settings
from promptcodec.store.fingerprint import pixel_fingerprint, probability_fingerprint
from promptcodec.store.prior_tables import prior_tables
from promptcodec.store.tensor_file import read_tensor_file
from promptcodec.system.atomic import atomic_write

FORMAT = "promptcodec-model-1"


@dataclass(frozen=True)
class StoredModel:
    """A model as read from its file: networks (float32, evaluation mode), tables of z, and what identifies them."""

    name: str
    version: str
    network: CompressionModel
    hyper_tables: FrequencyTables
    probability: bytes
    pixels: bytes

    @property
    def fingerprint(self) -> str:
        """Both fingerprints in hexadecimal."""
        return f"{self.probability.hex()}-{self.pixels.hex()}"


@default_settings()
def save_model(network: CompressionModel, path: str | Path, version: str) -> None:
    """Write ``network`` as a model file. Raises UsageError for weights that are not finite in half precision."""
    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise UsageError(f"cannot store {network.config.name}: {name} is not finite in half precision")
    with about_to_load():
        rounded = CompressionModel(network.config).float()
    rounded.load_state_dict(tensors)
    tables = prior_tables(rounded.prior)
    tensors |= {
        f"tables.{name}": torch.from_numpy(array) for name, array in zip(_TABLES, tables.to_arrays(), strict=True)
    }
    config = network.config.to_json()
    fields = json.loads(config)["fields"]
    metadata = {
        "format": FORMAT,
        "name": network.config.name,
        "version": version,
        "config": config,
        "probability_fingerprint": probability_fingerprint(tensors, fields).hex(),
        "pixel_fingerprint": pixel_fingerprint(tensors, fields).hex(),
    }
    with atomic_write(Path(path), overwrite=True) as file:
        file.write(save(tensors, metadata))


@default_settings()
def load_model(path: str | Path, device: str | torch.device = "cpu") -> StoredModel:
    """Read a model file. Raises ModelMismatchError where it is missing, foreign or does not fit its fingerprints."""
    metadata, tensors = read_tensor_file(path, "model", FORMAT)
    try:
        return _assemble(metadata, tensors, path, device)
    except ModelMismatchError:
        raise
    except (LookupError, ValueError, TypeError, RuntimeError, PromptcodecError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelMismatchError(f"model file {path} does not hold what it states: {' '.join(reason[:2])}") from None


def _assemble(
    metadata: dict[str, str], tensors: dict[str, Tensor], path: str | Path, device: str | torch.device
) -> StoredModel:
    config = Model.from_json(metadata["config"])
    fields = json.loads(metadata["config"])["fields"]
    probability, pixels = probability_fingerprint(tensors, fields), pixel_fingerprint(tensors, fields)
    if (probability.hex(), pixels.hex()) != (metadata["probability_fingerprint"], metadata["pixel_fingerprint"]):
        raise ModelMismatchError(f"model file {path} is damaged: its tensors do not have the fingerprint it states")
    tables = FrequencyTables.from_arrays(*(_array(tensors.pop(f"tables.{name}")) for name in _TABLES))
    if len(tables) != config.hyper_channels:
        raise ModelMismatchError(
            f"model file {path}: found {len(tables)} tables for z, expected {config.hyper_channels}"
        )
    with about_to_load():
        network = CompressionModel(config).float()
    network.load_state_dict(tensors)
    network = channels_last(network.to(device)).eval().requires_grad_(False)
    return StoredModel(config.name, metadata["version"], network, tables, probability, pixels)


_TABLES = ("flat", "lengths", "offsets")


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.numpy()
