"""Outputs that are no regular files: pipes, devices and descriptors that are open already."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

_STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
_DESCRIPTOR = re.compile(r"/dev/(?:(stdin|stdout|stderr)|fd/(\d{1,9}))|/proc/(self|thread-self|\d+)/fd/(\d{1,9})")
_MOST_LINKS = 40  # in a chain, as Linux has it


def descriptor(path: str | os.PathLike[str]) -> int | None:
    """Return the open descriptor of this process that ``path`` stands for, None where it names something else.

    Such are ``/dev/stdout``, ``/dev/fd/63`` (what a shell puts in place of ``>(command)``) and links to them.
    """
    text = os.path.abspath(path)  # noqa: PTH100 (resolve() would follow the links)
    for _ in range(_MOST_LINKS):
        if match := _DESCRIPTOR.fullmatch(text):
            if match[3] and match[3].isdigit() and int(match[3]) != os.getpid():
                return None
            return _STANDARD[match[1]] if match[1] else int(match[2] or match[4])
        link = Path(text)
        try:  # a step at a time: behind /dev/stdout lies a link whose target, such as pipe:[4711], is no path
            text = os.path.normpath(Path(os.path.realpath(link.parent)) / link.readlink())
        except (OSError, ValueError):  # no link
            return None
    return None


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Return whether writing to ``path`` replaces nothing: a pipe, a character device, a socket or an open descriptor.

    Block devices are none: what they hold would be lost.
    """
    if descriptor(path) is not None:
        return True
    with suppress(OSError, ValueError):
        mode = Path(path).stat().st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)
    return False


def is_terminal(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is a terminal, or an open descriptor of one."""
    number = descriptor(path)
    if number is not None:
        return os.isatty(number)
    with suppress(OSError, ValueError, AttributeError):  # Windows lacks O_NOCTTY
        if stat.S_ISCHR(Path(path).stat().st_mode):
            opened = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
            try:
                return os.isatty(opened)
            finally:
                os.close(opened)
    return False


def open_directly(path: Path) -> BinaryIO:
    """Open what is no regular file to be written to as it is. Raises OSError."""
    number = descriptor(path)
    if number is not None:  # its position is kept, and sockets cannot be opened by their name in /dev/fd
        try:
            return os.fdopen(os.dup(number), "wb")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    if path.is_socket():
        raise OSError(
            errno.ENXIO, "a socket cannot be written to by its name; pipe to a program that connects to it", str(path)
        )
    return path.open("wb")
