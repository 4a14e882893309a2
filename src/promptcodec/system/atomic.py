"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import itertools
import os
import re
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from promptcodec.system.special_files import is_stream, open_directly

_counter = itertools.count()
_swept: set[Path] = set()  # folders where this process has looked for what killed ones left
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_TEMPORARY = re.compile(r"\.promptcodec-([0-9a-f]{8})-([1-9]\d{0,8})-\d+\.tmp")


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the block ends, and vanishes if it raises.

    Links are followed: the file that a link leads to is replaced, the link stays. What is replaced passes its
    permissions on, and its owner and group as far as the system lets it; other hard links keep the old content. Pipes,
    devices and open descriptors (see ``special_files``) are written to directly, all at once when the block ends.
    Raises FileExistsError unless ``overwrite``. The first file of a process in a folder also removes the temporary ones
    that killed processes of this machine left.
    """
    if is_stream(path) or path.is_block_device():
        if path.is_block_device() and not overwrite:
            raise FileExistsError(errno.EEXIST, "the file exists", str(path))
        whole = io.BytesIO()  # a pipe cannot be sought in, and should get nothing of what fails half-way
        with open_directly(path) as file:
            yield whole
            file.write(whole.getbuffer())
        return
    path = Path(os.path.realpath(path))
    replaced = _status(path)
    if replaced is not None and not overwrite:
        raise FileExistsError(errno.EEXIST, "the file exists", str(path))
    if path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    temporary = path.with_name(f".promptcodec-{_machine()}-{os.getpid()}-{next(_counter)}.tmp")
    try:
        with _created(temporary, path, 0o666 if replaced is None else 0o600) as file:
            yield file
            file.flush()
            if replaced is not None:
                _pass_on(replaced, file.fileno())
            os.fsync(file.fileno())
        if overwrite or not _linked(temporary, path):
            _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _status(path: Path) -> os.stat_result | None:
    """Return the status of ``path``; None where nothing is there.

    Raises OSError where that cannot be told, and for folders.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    return status


def _created(temporary: Path, path: Path, mode: int) -> BinaryIO:
    try:
        return os.fdopen(os.open(temporary, _CREATE, mode), "wb")
    except OSError as error:  # the temporary file's name says nothing to people
        reason = error.strerror
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            reason = f"no file can be made in the folder ({reason})"
        raise OSError(error.errno, reason, str(path)) from None


def _pass_on(replaced: os.stat_result, descriptor: int) -> None:
    """Give the new file the owner, group and permissions of the old one; not the bits that lend its owner's rights."""
    if os.name != "posix":
        return
    for owner, group in ((replaced.st_uid, -1), (-1, replaced.st_gid)):  # apart: who may not do one may do the other
        with suppress(OSError):
            os.fchown(descriptor, owner, group)
    mode = stat.S_IMODE(replaced.st_mode) & 0o777
    if os.fstat(descriptor).st_gid != replaced.st_gid:  # what was meant for one group is not for another
        mode = mode & ~0o070 | (mode & 0o007) << 3
    with suppress(OSError):  # file systems without permissions
        os.fchmod(descriptor, mode)


def _replace(temporary: Path, path: Path) -> None:
    try:
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


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
    """Return eight hex digits that tell apart those who cannot see each other's processes.

    Machines, and containers on one.
    """
    namespace = 0
    with suppress(OSError):
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(f"{socket.gethostname()} {namespace}".encode()).hexdigest()[:8]


def _alive(pid: int) -> bool:
    """Return whether there may be a process ``pid``: only a system that says no is believed."""
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
        raise FileExistsError(errno.EEXIST, "the file exists", str(path)) from None
    except (OSError, NotImplementedError):
        return False
    temporary.unlink()
    return True
