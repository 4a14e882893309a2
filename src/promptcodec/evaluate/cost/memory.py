"""Most memory that a piece of work takes, where the system tells."""

from __future__ import annotations

from pathlib import Path

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def begin_peak() -> bool:
    """Forget this process's peak so far; False where the system (any but Linux) cannot."""
    try:
        _RESET.write_text("5")  # what proc(5) gives for the peak resident set
    except OSError:
        return False
    return True


def peak_mib() -> float | None:
    """Return the largest resident size in MiB, of everything in this process, since ``begin_peak``."""
    try:
        status = _STATUS.read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None
