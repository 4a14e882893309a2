"""Curves that others measured: stored ones with where they come from, and CompressAI's result files.

Each file in ``curves/`` holds one source's curves. They are means over a data set, like those of ``summary``, and not
measured here: what they say about a codec holds for the pictures, versions and options of their source.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.system.atomic import atomic_write
from promptcodec.system.printable import json_text

UNAVAILABLE = {
    "Choi'19": "conditional autoencoder, Choi et al., ICCV 2019",
    "modulated autoencoder": "Yang et al., IEEE Signal Processing Letters 2020",
    "HiFiC": "Mentzer et al., NeurIPS 2020",
    "InvCompress": "Xie et al., ACM MM 2021",
    "STF": "Zou et al., CVPR 2022",
    "TCM": "Liu et al., CVPR 2023",
    "MLIC++": "Jiang et al., 2023",
    "FTIC": "Li et al., ICLR 2024",
    "MambaVC": "Qin et al., 2024",
}
"""Peers that the papers plot and of which there is neither a model nor a curve here, with who made them."""


@dataclass(frozen=True)
class StoredPoint:
    """A mean over a data set: bits per pixel, PSNR (RGB, dB), MS-SSIM (RGB, 0 to 1); None where it is not known.

    ``encode_s``, ``decode_s``: seconds as the source states them, on its own machine.
    """

    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None

    def metric(self, name: str) -> float | None:
        """Return a metric by its name in ``summary``; None where it is not known."""
        return {"psnr": self.psnr, "ms_ssim": self.ms_ssim}.get(name)


@dataclass(frozen=True)
class StoredCurve:
    """``name``: DATASET/CODEC; ``description``: of the codec; ``source``: who measured it, where, its licence."""

    name: str
    description: str
    source: str
    points: tuple[StoredPoint, ...]
    note: str = ""


@cache
def stored_curves() -> dict[str, StoredCurve]:
    """Return all curves that come with the package, by name, those of a data set together."""
    folder = files("promptcodec.evaluate.data").joinpath("curves")
    curves: dict[str, StoredCurve] = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        content = json.loads(file.read_text("utf-8"))
        for name, curve in content["curves"].items():
            note = curve.get("note", "")
            curves[name] = StoredCurve(name, curve["description"], content["source"], _points(curve), note)
    return dict(sorted(curves.items(), key=lambda item: item[0].partition("/")[0]))


def open_curve(name: str) -> StoredCurve:
    """Return a stored curve by its name, or one from a file of CompressAI's results. Raises UsageError."""
    if name in stored_curves():
        return stored_curves()[name]
    if name.endswith(".json"):
        return read_compressai(Path(name))
    raise UsageError(f"there is no stored curve {name!r}: `promptcodec curves` lists them; or name a .json file")


def read_compressai(path: Path) -> StoredCurve:
    """Return a curve from the JSON that ``python -m compressai.utils.eval_model`` and its kin print.

    Raises UsageError for any other content.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        results: dict[str, list[float]] = content["results"]
        columns: dict[str, list[float]] = {"bpp": results["bpp"]}
        for ours, theirs in _COMPRESSAI.items():
            for key in theirs:
                if key in results:
                    columns[ours] = results[key]
        points = _points(columns)
        curve = StoredCurve(
            str(content.get("name") or path.stem), str(content.get("description", "")), str(path), points
        )
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} holds no results of CompressAI (name, description, results of equal length)"
        ) from error
    return curve


def write_compressai(path: Path, name: str, description: str, points: Sequence[StoredPoint]) -> None:
    """Write the curve in CompressAI's JSON, which its plotting tools read.

    Raises UsageError where it cannot be written.
    """
    columns = {"bpp": [point.bpp for point in points]}
    for ours, (key, *_) in _COMPRESSAI.items():
        values = [getattr(point, ours) for point in points]
        if all(value is not None for value in values):
            columns[key] = values
    text = json_text({"name": name, "description": description, "results": columns}, indent=2)
    try:
        with atomic_write(path, overwrite=True) as file:
            file.write((text + "\n").encode())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


_COMPRESSAI = {
    "psnr": ("psnr-rgb", "psnr"),
    "ms_ssim": ("ms-ssim-rgb", "ms-ssim"),
    "encode_s": ("encoding_time",),
    "decode_s": ("decoding_time",),
}
"""Our names and CompressAI's: what it writes now, and what it wrote before."""


def _points(columns: dict[str, Any]) -> tuple[StoredPoint, ...]:
    names = [name for name in ("bpp", *_COMPRESSAI) if name in columns]
    rows: Iterable[tuple[Any, ...]] = zip(*(columns[name] for name in names), strict=True)
    points = (StoredPoint(**{n: float(v) for n, v in zip(names, row, strict=True)}) for row in rows)
    return tuple(sorted(points, key=lambda point: point.bpp))
