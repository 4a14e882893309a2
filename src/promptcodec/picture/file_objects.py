"""File objects that callers hand over: checked to hold bytes, and made to be sought in."""

from __future__ import annotations

import io
from typing import Any, BinaryIO, cast

from promptcodec.errors import UsageError


def checked(file: Any) -> BinaryIO:
    """Return ``file`` where bytes can be read from it. Raises UsageError for text, for writing, and closed ones."""
    if not callable(getattr(file, "read", None)):
        raise UsageError(f"expected a path, bytes or a binary file, found {type(file).__name__}")
    if isinstance(file, io.TextIOBase):
        raise UsageError("the file is open in text mode: open it in binary mode, 'rb'")
    if getattr(file, "closed", False):
        raise UsageError("the file is closed")
    try:
        nothing = file.read(0)
    except io.UnsupportedOperation:
        raise UsageError("the file is not open for reading: open it in binary mode, 'rb'") from None
    except TypeError:  # its read() takes no number
        return io.BytesIO(read_all(file))
    if isinstance(nothing, str):  # a wrapper around a text file
        raise UsageError("the file gives text instead of bytes: open it in binary mode, 'rb'")
    return cast("BinaryIO", file)


def seekable(file: BinaryIO) -> BinaryIO:
    """Return ``file`` where it can be sought in, else all that is left of it as a new one."""
    return file if can_seek(file) else io.BytesIO(read_all(file))


def can_seek(file: BinaryIO) -> bool:
    """Tell whether ``file`` has a position that can be set."""
    try:
        return bool(file.seekable())
    except AttributeError:  # an object of some methods alone
        return hasattr(file, "seek") and hasattr(file, "tell")


def read_all(file: BinaryIO) -> bytes:
    """Read a file to its end, also where a call gives less than all. Raises UsageError where it would have to wait."""
    return b"".join(iter(lambda: _some(file), b""))


def read_start(file: BinaryIO, count: int) -> bytes:
    """Read ``count`` bytes, fewer only at the file's end; pipes and sockets may give less a call. Raises UsageError."""
    start = b""
    while len(start) < count and (more := _some(file, count - len(start))):
        start += more
    return start


def _some(file: BinaryIO, count: int | None = None) -> bytes:
    data = file.read() if count is None else file.read(count)
    if data is None:
        raise UsageError("the file has nothing to read yet: open it in blocking mode")
    return bytes(data)
