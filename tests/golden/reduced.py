"""Reduced golden files: what their seeds give is drawn again, the rest is stored.

A file is a NumPy archive without pickles. ``recipe`` (JSON) names every tensor in order; ``steps`` says how far each
drawn number lies from what ``seeded`` gives, nearly always 0; the other arrays hold the stored tensors of one type
end to end, int32 ones as differences.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from golden.seeded import BLOCK, Stream, picture, rounded

Tensors = dict[str, np.ndarray]


def write(path: Path, recipe: dict[str, Any], steps: np.ndarray, stored: Tensors) -> None:
    """Write a reduced file. The same content gives the same bytes, with the same zlib."""
    joined: dict[str, list[np.ndarray]] = {}
    for value in stored.values():
        flat = np.ascontiguousarray(value).ravel()
        joined.setdefault(str(value.dtype), []).append(flat)
    recipe["stored"] = [[key, list(value.shape), str(value.dtype)] for key, value in stored.items()]
    arrays = {kind: np.concatenate(parts) for kind, parts in joined.items()}
    if "int32" in arrays:
        arrays["int32"] = np.diff(arrays["int32"], prepend=np.int32(0))
    arrays["steps"] = steps
    arrays["recipe"] = np.frombuffer(json.dumps(recipe, separators=(",", ":")).encode(), np.uint8)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in sorted(arrays.items()):
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED)


def read(path: Path) -> Tensors:
    """All tensors of a reduced file, in the types of the full one."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    recipe = json.loads(arrays["recipe"].tobytes())
    tensors = drawn(recipe, arrays["steps"])
    if checksum(tensors) != recipe["sha256"]:
        raise AssertionError(f"the numbers drawn for {path.name} are not those that its outputs were computed with")
    if "int32" in arrays:
        arrays["int32"] = np.cumsum(arrays["int32"], dtype=np.int32)
    at = dict.fromkeys(arrays, 0)
    for key, shape, kind in recipe["stored"]:
        begin, count = at[kind], math.prod(shape)
        tensors[key] = arrays[kind][begin : begin + count].reshape(shape).copy()
        at[kind] += count
    return tensors


def drawn(recipe: dict[str, Any], steps: np.ndarray) -> Tensors:
    """The tensors that seeds give, each with its ``steps``."""
    streams = {seed: Stream(int(seed), count) for seed, count in recipe["streams"].items()}
    tensors, at = {}, 0
    for key, shape, kind, seed, offset, *law in recipe["drawn"]:
        count = math.prod(shape)
        values = by_law(streams[str(seed)].normal(offset, count).reshape(shape), law)
        tensors[key] = rounded(values, kind, steps[at : at + count].reshape(shape))
        at += count
    for key, seed, height, width, rectangles in recipe["pictures"]:
        count = 3 * height * width
        found = picture(seed, height, width, rectangles)
        tensors[key] = (found + steps[at : at + count].reshape(found.shape)).astype(np.uint8)[None]
        at += count
    return tensors


def by_law(normal: np.ndarray, law: list[float]) -> np.ndarray:
    """``law``: scale and mean; or an axis, and both for its first and its second half."""
    if len(law) == 2:
        return law[0] * normal + law[1]
    axis = int(law[0])
    halves = np.split(normal, 2, axis)
    return np.concatenate([law[1] * halves[0] + law[2], law[3] * halves[1] + law[4]], axis)


def checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for key, value in tensors.items():
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def stream_length(offset: int, count: int) -> int:
    """How much of a stream a tensor needs."""
    return offset + count + 2 * BLOCK
