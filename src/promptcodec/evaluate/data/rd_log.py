"""``validation.jsonl`` of a run: rate and quality over samples seen, one JSON object a line.

``samples``: crops seen; ``set``: name of the pictures' folder, TRAIN for the sample of the training pictures; ``rd``:
rows of ``q``, ``bpp``, ``psnr`` (means over the set, with real rounding, of the moving average).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.system.printable import valid_unicode

NAME = "validation.jsonl"
TRAIN = "train"


@dataclass(frozen=True)
class RDRow:
    """What a run had reached after ``samples``: points (bits per pixel, PSNR in dB) on the pictures of ``dataset``."""

    samples: int
    dataset: str
    points: tuple[tuple[float, float], ...]


def add_rd(folder: Path, samples: int, source: str, rd: list[dict[str, Any]]) -> None:
    """Append a line to the log in ``folder``; the set is called as ``set_name`` says of ``source``."""
    line = json.dumps({"samples": samples, "set": set_name(source), "rd": rd})
    with (folder / NAME).open("a") as file:
        file.write(line + "\n")


def set_name(source: str) -> str:
    """Name the set of pictures in ``source``, a folder or tar file, by its last part."""
    return valid_unicode(Path(source).stem or source)


def read_rd(path: Path) -> list[RDRow]:
    """Return the rows of a log, or of the log in a folder, by samples; of several for one set and count the last is
    taken.

    A run that was killed sees some samples twice. Raises UsageError where there is no such log.
    """
    path = path / NAME if path.is_dir() else path
    rows: dict[tuple[str, int], RDRow] = {}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            plain = [point for point in row["rd"] if not point.get("look")]  # looks have curves of their own
            points = tuple((float(point["bpp"]), float(point["psnr"])) for point in plain)
            rows[str(row["set"]), int(row["samples"])] = RDRow(int(row["samples"]), str(row["set"]), points)
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}; recipes with validation and validation_every write it"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no log of validations: {error}") from error
    return sorted(rows.values(), key=lambda row: (row.dataset, row.samples))
