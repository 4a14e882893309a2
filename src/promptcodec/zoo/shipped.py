"""The models inside the package, by name and by the fingerprint a file asks for. Imports no torch."""

from __future__ import annotations

import json
import struct
from functools import cache
from pathlib import Path

from promptcodec.errors import ModelMismatchError

FOLDER = Path(__file__).parent / "weights"
DEFAULT = "nano"
LARGEST_HEADER = 2**24  # bytes; a model's is a few thousand


@cache
def shipped_models() -> dict[str, dict[str, str]]:
    """Metadata of every shipped model file by name; ``path`` is the file."""
    return {path.stem: read_metadata(path) | {"path": str(path)} for path in sorted(FOLDER.glob("*.safetensors"))}


def read_metadata(path: Path) -> dict[str, str]:
    """What a model file says of itself. Raises ModelMismatchError for other files."""
    try:
        with path.open("rb") as file:  # a safetensors file begins with the length of its JSON header
            (length,) = struct.unpack("<Q", file.read(8))
            metadata: dict[str, str] = json.loads(file.read(min(length, LARGEST_HEADER)))["__metadata__"]
            return metadata | {"fingerprint": f"{metadata['probability_fingerprint']}-{metadata['pixel_fingerprint']}"}
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise ModelMismatchError(f"model file {path} cannot be read: {error or type(error).__name__}") from None


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
