"""Files that are read: on this machine, and at whatever address fsspec has a file system for."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from promptcodec.batch.addresses import file_system, is_address, local_path, reading


@dataclass(frozen=True)
class StoredFile:
    """A file of a storage: its address, its name below what was listed, and its size in bytes (-1: unknown)."""

    address: str
    name: str
    size: int


@contextmanager
def open_source(address: str) -> Iterator[io.BufferedReader]:
    """Open a file of any storage to be read from its beginning; it can be sought in.

    Opening, and whatever is read later, raises SourceError where it fails.
    """
    with reading(address):
        if is_address(address):
            opened: IO[bytes] = file_system(urlsplit(address).scheme).open(address, "rb")
        else:
            opened = local_path(address).open("rb")
    with opened:
        yield io.BufferedReader(_Source(address, opened), 2**18)


class _Source(io.RawIOBase):
    """A file whose errors are SourceErrors: those of what is written meanwhile are told from them."""

    def __init__(self, address: str, file: IO[bytes]) -> None:
        self._address, self._file = address, file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        with reading(self._address):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        with reading(self._address):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def read_source(address: str) -> bytes:
    """Return all bytes of a file of any storage. Raises SourceError."""
    with open_source(address) as file:
        return file.read()


def list_remote(address: str) -> list[StoredFile]:
    """Return all files below an address, or the one that it is, by name. ``*`` and ``?`` match names. Raises
    SourceError.
    """
    scheme = urlsplit(address).scheme
    system = file_system(scheme)
    with reading(address):
        stripped = str(system._strip_protocol(address)).rstrip("/")
        if any(sign in stripped for sign in "*?"):
            listed = system.glob(stripped, detail=True)
            base = stripped.partition("*")[0].partition("?")[0].rpartition("/")[0]
        else:
            listed = system.find(stripped, detail=True)
            base = stripped
        files = {path: facts for path, facts in listed.items() if facts.get("type") == "file"}
    stored = []
    for path, facts in sorted(files.items()):
        name = path[len(base) :].strip("/") or path.rpartition("/")[2]
        size = facts.get("size")
        stored.append(StoredFile(f"{scheme}://{path.lstrip('/')}", name, -1 if size is None else int(size)))
    return stored
