"""The ledger: a table row for every session of a run, in a Markdown file."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from promptcodec.system.atomic import atomic_write
from promptcodec.system.printable import printable

TITLE = "## Sessions"
COLUMNS = ("date", "run", "recipe", "commit", "hardware", "minutes", "samples", "validation", "weights")


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add ``row``, which has COLUMNS, below the last row of the table under TITLE; both are made where missing."""
    _add_line(path, "| " + " | ".join(printable(str(row[column])).replace("|", "/") for column in COLUMNS) + " |")


def take_over(path: Path, other: Path) -> None:
    """Add the rows of another ledger that the one at ``path`` lacks: of sessions elsewhere."""
    for line in _rows(other)[1]:
        if line not in _rows(path)[1]:
            _add_line(path, line)


def _rows(path: Path) -> tuple[int, list[str]]:
    """Find where the table under TITLE ends, and its rows; -1 and none where there is no table."""
    lines = path.read_text().splitlines() if path.is_file() else []
    if TITLE not in lines:
        return -1, []
    last, rows = lines.index(TITLE), []
    for i in range(last + 1, len(lines)):
        if lines[i].startswith("## "):
            break
        if lines[i].startswith("|"):
            last = i
            rows.append(lines[i])
    return last, rows[2:]  # below the head and its rule


def _add_line(path: Path, line: str) -> None:
    text = path.read_text() if path.is_file() else "# Training ledger\n"
    if TITLE not in text.splitlines():
        head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
        text = f"{text.rstrip()}\n\n{TITLE}\n\nWritten by `training/run_queue.py`.\n\n{head}"
        with atomic_write(path, overwrite=True) as file:
            file.write(text.encode())
    lines = text.splitlines()
    lines.insert(_rows(path)[0] + 1, line)
    with atomic_write(path, overwrite=True) as file:
        file.write(("\n".join(lines) + "\n").encode())


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def commit(folder: Path) -> str:
    """Name the git commit that ``folder`` is at, with a plus where files differ from it."""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def hardware(device: torch.device, processes: int) -> str:
    """Describe what a run computed with."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{platform.machine()} {device.type}, {torch.get_num_threads()} threads"
    return f"{processes} × {name}" if processes > 1 else name
