"""Addresses and paths, the file systems behind them, and what their errors mean."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from promptcodec.errors import DestinationError, SourceError, UsageError
from promptcodec.system.extras import import_extra


def is_address(source: str) -> bool:
    """Return whether ``source`` names a protocol, rather than a path on this machine."""
    return "://" in source and not source.startswith("file://")


def local_path(source: str) -> Path:
    """Return the path in a source that is none of another machine's."""
    return Path(source.removeprefix("file://"))


def normalised(address: str) -> str:
    """Return an address or path in one spelling: paths absolute, nothing behind the last slash."""
    if is_address(address):
        scheme, _, rest = address.partition("://")
        return f"{scheme}://{rest.rstrip('/')}"
    return os.path.abspath(local_path(address))  # noqa: PTH100 (links stay as they are named)


@cache
def file_system(scheme: str) -> Any:
    try:
        return import_extra("fsspec", "fsspec", "batch").filesystem(scheme)
    except (ImportError, ValueError) as error:  # a protocol whose package is missing, or that nobody knows
        raise UsageError(f"{scheme}:// cannot be opened: {error}") from None


@contextmanager
def reading(address: str) -> Iterator[None]:
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        if not _from_storage(error):
            raise
        raise SourceError(f"{address} cannot be read: {explain_storage(error)}", _scope(address, error)) from None


@contextmanager
def writing(address: str) -> Iterator[None]:
    try:
        yield
    except (DestinationError, FileExistsError):
        raise
    except Exception as error:
        if not _from_storage(error):
            raise
        raise DestinationError(f"{address} cannot be written: {explain_storage(error)}") from None


def _from_storage(error: Exception) -> bool:
    """Return whether an error is one of the system or of a client of a store, none of which has a base in common."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in {
        "botocore", "aiobotocore", "aiohttp", "gcsfs", "google", "azure", "adlfs", "fsspec", "asyncio", "requests",
    }  # fmt: skip


def _scope(address: str, error: Exception) -> Literal["file", "access", "passing"]:
    if not is_address(address) or isinstance(error, (FileNotFoundError, IsADirectoryError)):
        return "file"
    return "access" if isinstance(error, PermissionError) or _refused(error) else "passing"


def _refused(error: Exception) -> bool:
    return "Credentials" in type(error).__name__


def explain_storage(error: Exception) -> str:
    """One line on why a file could not be read or written."""
    if _refused(error) or isinstance(error, PermissionError):
        return f"access is refused ({_one_line(error)}); check the keys, the rights and the endpoint"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"it is full ({error.strerror})"
    return _one_line(error) or type(error).__name__


def _one_line(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
