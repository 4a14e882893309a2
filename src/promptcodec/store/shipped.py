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
    """Return the metadata of every shipped model file by name; ``path`` is the file."""
    return {path.stem: read_metadata(path) | {"path": str(path)} for path in sorted(FOLDER.glob("*.safetensors"))}


def read_metadata(path: Path) -> dict[str, str]:
    """Read what a model file states: name, version, base and fingerprints.

    Raises ModelMismatchError for other files.
    """
    metadata = read_header(path)
    try:
        return metadata | {"fingerprint": f"{metadata['probability_fingerprint']}-{metadata['pixel_fingerprint']}"}
    except KeyError as error:
        raise ModelMismatchError(f"model file {path} cannot be read: {error}") from None


def read_header(path: Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, which begins with the length of its JSON header.

    Raises ModelMismatchError for other files.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            metadata: dict[str, str] = json.loads(file.read(min(length, LARGEST_HEADER)))["__metadata__"]
            return dict(metadata)
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise ModelMismatchError(f"model file {path} cannot be read: {error or type(error).__name__}") from None


def find_model(name: str) -> Path:
    """Return the path of a model: a shipped one by name (``nano``) or name and version (``nano-0.5``), or a file.

    Raises ModelMismatchError.
    """
    if name in shipped_models():
        return Path(shipped_models()[name]["path"])
    if Path(name).is_file():
        return Path(name)
    for metadata in shipped_models().values():  # by its version too, which it keeps when its name goes to a better one
        if name == f"{metadata['name']}-{metadata['version']}":
            return Path(metadata["path"])
    known = ", ".join(shipped_models()) or "none"
    raise ModelMismatchError(f"there is no model {name!r}: it is neither a file nor shipped (shipped: {known})")


def model_for(probability: bytes, pixels: bytes) -> Path | None:
    """Return the path of the shipped model with these fingerprints, None where there is none.

    Of models that share all that decides a probability, the one whose synthesis a file was made for gives its pixels;
    where that one is not shipped, another decodes it to slightly other pixels: the default one if it can.
    """
    fitting = [m for m in shipped_models().values() if m["probability_fingerprint"] == probability.hex()]
    fitting.sort(key=lambda m: (m["pixel_fingerprint"] != pixels.hex(), Path(m["path"]).stem != DEFAULT))
    return Path(fitting[0]["path"]) if fitting else None
