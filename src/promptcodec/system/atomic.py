"""Files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

_counter = itertools.count()
_swept: set[Path] = set()  # folders where this process has looked for what killed ones left
_TEMPORARY = re.compile(r"\.promptcodec-([0-9a-f]{8})-([1-9]\d{0,8})-\d+\.tmp")


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends, and vanishes if it raises.

    Links are followed; devices and pipes are written to directly. Raises FileExistsError unless ``overwrite``. The
    first file of a process in a folder also removes the temporary ones that killed processes of this machine left.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    if path.exists() and not overwrite:
        raise FileExistsError(17, "the file exists", str(path))
    if path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    temporary = path.with_name(f".promptcodec-{_machine()}-{os.getpid()}-{next(_counter)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite or not _linked(temporary, path):
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sweep(folder: Path) -> None:
    """Remove the temporary files in ``folder`` whose process is known to be gone; all others stay."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = _TEMPORARY.fullmatch(entry.name)
            if name is None or name[1] != _machine() or not entry.is_file(follow_symlinks=False):
                continue
            if not _alive(int(name[2])):
                with suppress(OSError):
                    Path(entry.path).unlink()


@cache
def _machine() -> str:
    """Eight hex digits that tell apart those who cannot see each other's processes: machines, and containers on one."""
    namespace = 0
    with suppress(OSError):
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    """Whether there may be a process ``pid``: only a system that says no is believed."""
    if os.name != "posix":  # there, the signal 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _linked(temporary: Path, path: Path) -> bool:
    """Give the file its name only if nobody took that name meanwhile; False where the file system has no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(17, "the file exists", str(path)) from None
    except (OSError, NotImplementedError):
        return False
    temporary.unlink()
    return True
