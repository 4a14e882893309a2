"""The register of model versions: what releases shipped, and which of it is stable, that is, shipped for ever.

``weights/versions.json`` lists them, oldest first. A release declares a version stable; from then on it is never taken
out of the package: when its name goes to a better one, its file stays as ``NAME-VERSION.safetensors``, and files find
it by its fingerprint. Nothing is promised of an experimental version: any release may drop it, and refuses files that
need it by its name if a release had it. What no release had leaves the register with its weights. Imports no torch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from promptcodec.store.shipped import model_for

REGISTER = Path(__file__).parent / "weights" / "versions.json"


@dataclass(frozen=True)
class ModelVersion:
    """One entry. ``fingerprint``: both parts in hexadecimal; ``sha256``: of the model file."""

    name: str
    version: str
    fingerprint: str
    stable: bool
    sha256: str

    @property
    def probability(self) -> str:
        """What files name it by."""
        return self.fingerprint.split("-")[0]


@cache
def registered() -> tuple[ModelVersion, ...]:
    """Return all entries of the register."""
    return tuple(ModelVersion(**entry) for entry in json.loads(REGISTER.read_text("utf-8")))


def described(probability: bytes) -> str:
    """Describe a model by the fingerprint in a file: with its name and version where the register has them."""
    for entry in reversed(registered()):
        if entry.probability == probability.hex():
            kind = "" if entry.stable else ", an experimental version that is not kept for ever"
            return f"model {entry.name} {entry.version} ({entry.probability}{kind})"
    return f"model {probability.hex()}"


def remedy(probability: bytes, pixels: bytes) -> str:
    """Say what to do with a file of the model with these fingerprints where another one is at hand."""
    shipped = model_for(probability, pixels)
    if shipped is None:
        return "decode it with the release or the model file that made it"
    return f"this release has that one as {shipped.stem}: name it, or no model at all"
