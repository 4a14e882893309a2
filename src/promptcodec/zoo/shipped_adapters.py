"""The adapters inside the package, by name, base and the fingerprint that a file asks for. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from promptcodec.zoo.shipped import FOLDER, read_header

ADAPTERS = FOLDER / "adapters"


@dataclass(frozen=True)
class ShippedAdapter:
    """One file. ``base``: fingerprint of the base that it was trained on, as adapter files state it."""

    path: Path
    name: str
    kind: str
    base: str
    base_name: str
    fingerprint: bytes


@cache
def shipped_adapters() -> tuple[ShippedAdapter, ...]:
    """All of them, by the names of their files."""
    return tuple(map(_read, sorted(ADAPTERS.glob("*.safetensors"))))


def find_adapter(name: str, base: str) -> ShippedAdapter | None:
    """The one of that name for a base, by its fingerprint; None where there is none."""
    return next((a for a in shipped_adapters() if a.name == name and a.base == base), None)


def _read(path: Path) -> ShippedAdapter:
    metadata = read_header(path)
    about = json.loads(metadata["about"])
    return ShippedAdapter(
        path, about["name"], about["kind"], metadata["base"], metadata["base_name"],
        bytes.fromhex(metadata["fingerprint"]),
    )  # fmt: skip
