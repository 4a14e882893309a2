"""The models inside the package, by name and by the fingerprint a file asks for. Imports no torch."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

from promptcodec.errors import ModelMismatchError

FOLDER = Path(__file__).parent / "weights"
DEFAULT = "nano"


@cache
def shipped_models() -> dict[str, dict[str, str]]:
    """Metadata of every shipped model file by name; ``path`` is the file."""
    models = {}
    for path in sorted(FOLDER.glob("*.safetensors")):
        with path.open("rb") as file:  # a safetensors file begins with the length of its JSON header
            (length,) = struct.unpack("<Q", file.read(8))
            metadata = json.loads(file.read(length))["__metadata__"]
        models[path.stem] = metadata | {"path": str(path)}
    return models


def find_model(name: str) -> Path:
    """Path of a model given by the name of a shipped one or as a file. Raises ModelMismatchError."""
    if name in shipped_models():
        return Path(shipped_models()[name]["path"])
    if Path(name).is_file():
        return Path(name)
    known = ", ".join(shipped_models()) or "none"
    raise ModelMismatchError(f"there is no model {name!r}: it is neither a file nor shipped (shipped: {known})")


def model_for(probability: bytes) -> Path | None:
    """Path of the shipped model with this probability fingerprint, None where there is none."""
    for metadata in shipped_models().values():
        if metadata["probability_fingerprint"] == probability.hex():
            return Path(metadata["path"])
    return None
