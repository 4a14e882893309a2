"""A file in parts of at most 16 MiB, for channels that carry no more at once.

A folder holds the parts and, written last, an index with the length and SHA-256 of every part and of the whole: until
the index of a new version is in place, the old version is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write

LARGEST = 16 * 2**20
INDEX = "index.json"


def write_shards(folder: Path, data: bytes, largest: int = LARGEST) -> None:
    """Put ``data`` into ``folder`` in place of what is there."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(data).hexdigest()
    parts = []
    for i, start in enumerate(range(0, len(data), largest)):
        part = data[start : start + largest]
        name = f"{digest[:12]}-{i:03}.part"  # of this version alone: the old one stays whole until the index changes
        with atomic_write(folder / name, overwrite=True) as file:
            file.write(part)
        parts.append({"file": name, "bytes": len(part), "sha256": hashlib.sha256(part).hexdigest()})
    with atomic_write(folder / INDEX, overwrite=True) as file:
        file.write(json.dumps({"bytes": len(data), "sha256": digest, "parts": parts}, indent=1).encode())
    current = {part["file"] for part in parts}
    for path in folder.glob("*.part"):
        if path.name not in current:
            path.unlink()


def read_shards(folder: Path) -> bytes:
    """Read what ``write_shards`` put there. Raises UsageError where the index or a part is missing or damaged."""
    try:
        index = json.loads((folder / INDEX).read_text())
        parts = [(str(part["file"]), str(part["sha256"])) for part in index["parts"]]
        whole = str(index["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder} holds no file in parts: {error}") from None
    data = bytearray()
    for name, digest in parts:
        if Path(name).name != name or not (folder / name).is_file():
            raise UsageError(f"{folder}: part {name} is missing")
        part = (folder / name).read_bytes()
        if hashlib.sha256(part).hexdigest() != digest:
            raise UsageError(f"{folder}: part {name} is damaged")
        data += part
    if hashlib.sha256(data).hexdigest() != whole:
        raise UsageError(f"{folder}: the parts are whole, but not of one file")
    return bytes(data)


def complete(folder: Path) -> bool:
    """Return whether an index and all parts it names are there, by length."""
    try:
        parts = json.loads((folder / INDEX).read_text())["parts"]
        return all((folder / part["file"]).stat().st_size == part["bytes"] for part in parts)
    except (OSError, ValueError, KeyError, TypeError):
        return False
