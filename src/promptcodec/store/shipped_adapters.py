"""The adapters inside the package, by name, base and the fingerprint that a file asks for. Imports no torch.

``weights/adapters/register.json`` lists them, oldest first. As with models, one that a release declared stable is never
taken out again, and nothing is promised of the others. Files find an adapter by its fingerprint; its name goes to the
newest for a base.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from promptcodec.store.shipped import FOLDER

ADAPTERS = FOLDER / "adapters"
REGISTER = ADAPTERS / "register.json"


@dataclass(frozen=True)
class ShippedAdapter:
    """One file. ``base``: fingerprint of the base that it was trained on, as adapter files state it, which people know
    as ``base_name``; ``use``: how it is asked for; ``sha256``: of the file.
    """

    file: str
    name: str
    version: str
    base: str
    base_name: str
    fingerprint: str
    use: str
    stable: bool
    sha256: str

    @property
    def path(self) -> Path:
        """Of the file."""
        return ADAPTERS / self.file


@cache
def shipped_adapters() -> tuple[ShippedAdapter, ...]:
    """Return all of them, newest first."""
    return tuple(ShippedAdapter(**entry) for entry in reversed(json.loads(REGISTER.read_text("utf-8"))))


def find_adapter(name: str, base: str) -> ShippedAdapter | None:
    """Return the newest of that name for a base, by its fingerprint; None where there is none."""
    return next((a for a in shipped_adapters() if a.name == name and a.base == base), None)
