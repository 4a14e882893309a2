"""Refuse what cannot fit: better an error than a machine that starts to kill processes."""

from __future__ import annotations

from pathlib import Path

from promptcodec.errors import LimitError

BYTES_A_PIXEL = 200  # the smallest model's peak is above it; an estimate from below never refuses what would fit


def check_memory(height: int, width: int) -> None:
    """Raise LimitError where a picture's activations exceed the memory that can be had, if the system tells it."""
    free = available_bytes()
    needed = BYTES_A_PIXEL * height * width
    if free is not None and needed > free:
        raise LimitError(
            f"a picture of {width} x {height} pixels needs more than {needed / 2**30:.1f} GiB of memory; "
            f"{free / 2**30:.1f} GiB are free"
        )


def available_bytes() -> int | None:
    """Memory free for this process, what it already holds included; None where the system does not tell."""
    try:
        system = Path("/proc/meminfo").read_text().split()
        process = Path("/proc/self/status").read_text().split()
        return 1024 * (int(system[system.index("MemAvailable:") + 1]) + int(process[process.index("VmRSS:") + 1]))
    except (OSError, ValueError, IndexError):  # not Linux
        return None
