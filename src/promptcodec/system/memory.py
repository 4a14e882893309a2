"""How much memory there is: what this process holds, and what it can still have."""

from __future__ import annotations

from pathlib import Path


def available_bytes() -> int | None:
    """Return the memory free for this process, what it already holds included; None where the system does not tell."""
    try:
        system = Path("/proc/meminfo").read_text().split()
        resident = _resident()
        free = 1024 * int(system[system.index("MemAvailable:") + 1])
    except (OSError, ValueError, IndexError):  # not Linux
        return None
    group = _free_in_control_group()
    return resident + (free if group is None else min(free, group))


def is_lack_of_memory(error: Exception) -> bool:
    """Return whether an error says that an allocation failed.

    PyTorch has no type of its own for that on the CPU; oneDNN, where its code or its buffers find no room, says that it
    could not create a primitive.
    """
    if isinstance(error, RuntimeError):
        return any(word in str(error) for word in ("alloc", "memory", "could not create a primitive"))
    return isinstance(error, MemoryError)


def resident_bytes() -> int:
    """Return the memory that this process holds, in bytes; 0 where the system does not tell."""
    try:
        return _resident()
    except (OSError, ValueError, IndexError):  # not Linux
        return 0


def _resident() -> int:
    process = Path("/proc/self/status").read_text().split()
    return 1024 * int(process[process.index("VmRSS:") + 1])


def _free_in_control_group() -> int | None:
    """Return the bytes that a container's limit leaves, the file cache that it can drop included.

    None where there is none.
    """
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        statistics = (group / "memory.stat").read_text().split()
        return limit - used + int(statistics[statistics.index("inactive_file") + 1])
    except (OSError, ValueError, IndexError):  # "max", or another kind of system
        return None
