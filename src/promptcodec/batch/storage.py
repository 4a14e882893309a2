"""Where outputs go: folders, and whatever fsspec has a file system for.

What is written appears whole or not at all. In a folder it is renamed to its name; an object store shows an object when
its upload is complete; on other remote file systems an upload is moved to its name.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast
from urllib.parse import urlsplit

from promptcodec.batch.addresses import file_system, is_address, normalised, reading, writing
from promptcodec.batch.sources import open_source
from promptcodec.errors import DestinationError, SourceError, UsageError
from promptcodec.system.atomic import atomic_write

# Protocols of fsspec whose uploads appear when they are complete.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss", "r2", "memory"})
_READ_ONLY = frozenset({"http", "https", "github", "zip", "tar"})


@dataclass(frozen=True)
class Written:
    """Size and SHA-256 of what was written."""

    bytes: int
    sha256: str


class Storage(Protocol):
    """Files below one place. Names are relative to it, with slashes."""

    address: str

    def read(self, name: str) -> bytes | None:
        """Return all bytes of a file; None where there is none. Raises SourceError."""

    def sha256(self, name: str) -> str | None:
        """SHA-256 of a file in hexadecimal; None where there is none that can be read. Raises SourceError."""

    def names(self, folder: str) -> list[str]:
        """Names of the files right in ``folder``, which need not exist. Raises SourceError."""

    def empty(self) -> bool:
        """Return whether there is no file below this place, or no such place. Raises SourceError."""

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if its name is free; False where it was not. Raises DestinationError."""

    def put(self, name: str, data: bytes) -> Written:
        """Write a file, in the place of the one that has its name. Raises DestinationError."""

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> Written:
        """Have ``fill`` write a file, which then takes its name, and the place of what had it.

        Raises DestinationError, and whatever ``fill`` does, after which nothing has changed.
        """

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""


class _Hashed:
    """A file that knows the SHA-256 of what is written to it in order."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._digest, self.bytes = file, hashlib.sha256(), 0
        self.closed = False

    def write(self, data: Any) -> int:
        self._digest.update(data)
        self.bytes += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Leave closing to the storage."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    @property
    def written(self) -> Written:
        return Written(self.bytes, self._digest.hexdigest())


def _sha256(address: str) -> str | None:
    try:
        with open_source(address) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except SourceError as error:
        if error.scope == "file":
            return None
        raise


class LocalStorage:
    """A folder of this machine, or of a file system that it has mounted."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._folder = Path(address)

    def read(self, name: str) -> bytes | None:
        with reading(str(self._folder / name)):
            try:
                return (self._folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def sha256(self, name: str) -> str | None:
        return _sha256(str(self._folder / name))

    def names(self, folder: str) -> list[str]:
        with reading(str(self._folder / folder)):
            try:
                with os.scandir(self._folder / folder) as entries:
                    return sorted(entry.name for entry in entries if entry.is_file() and entry.name[0] != ".")
            except FileNotFoundError:
                return []

    def empty(self) -> bool:
        with reading(self.address):
            try:
                return next(self._folder.iterdir(), None) is None
            except FileNotFoundError:
                return True

    def create(self, name: str, data: bytes) -> bool:
        path = self._folder / name
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with atomic_write(path) as file:
                    file.write(data)
            except FileExistsError:
                return False
            return True

    def put(self, name: str, data: bytes) -> Written:
        path = self._folder / name
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, overwrite=True) as file:
                file.write(data)
        return Written(len(data), hashlib.sha256(data).hexdigest())

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> Written:
        path = self._folder / name
        with writing(str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path, overwrite=True) as file:
                hashed = _Hashed(file)
                fill(cast("BinaryIO", hashed))
            return hashed.written

    def remove(self, name: str) -> None:
        with writing(str(self._folder / name)):
            (self._folder / name).unlink(missing_ok=True)


class RemoteStorage:
    """A place of one of fsspec's file systems. What is written is collected in a temporary file of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._scheme = urlsplit(address).scheme
        self._system = file_system(self._scheme)

    def _path(self, name: str) -> str:
        return f"{self.address}/{name}" if name else self.address

    def read(self, name: str) -> bytes | None:
        with reading(self._path(name)):
            try:
                return cast("bytes", self._system.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def sha256(self, name: str) -> str | None:
        return _sha256(self._path(name))

    def names(self, folder: str) -> list[str]:
        with reading(self._path(folder)):
            try:
                listed = self._system.ls(self._path(folder), detail=True, refresh=True)
            except FileNotFoundError:
                return []
        return sorted(each["name"].rpartition("/")[2] for each in listed if each["type"] == "file")

    def empty(self) -> bool:
        with reading(self.address):
            try:
                return not self._system.ls(self.address, detail=False, refresh=True)
            except FileNotFoundError:
                return True

    def create(self, name: str, data: bytes) -> bool:
        path = self._path(name)
        with writing(path):
            self._make_folder(path)
            try:
                self._system.pipe_file(path, data, mode="create")  # a conditional put, where the store has it
            except FileExistsError:
                return False
            except Exception as error:
                if _exists_already(error):
                    return False
                raise
            return True

    def put(self, name: str, data: bytes) -> Written:
        if self._scheme not in _OBJECT_STORES:
            return self.write(name, lambda file: cast("None", file.write(data)))
        with writing(self._path(name)):
            self._system.pipe_file(self._path(name), data)
        return Written(len(data), hashlib.sha256(data).hexdigest())

    def write(self, name: str, fill: Callable[[BinaryIO], None]) -> Written:
        path = self._path(name)
        with _temporary() as file:
            hashed = _Hashed(file)
            with writing(f"the temporary file {file.name}"):
                fill(cast("BinaryIO", hashed))
                file.flush()
            with writing(path):
                if self._scheme in _OBJECT_STORES:
                    self._system.put_file(file.name, path)
                else:
                    self._make_folder(path)
                    part = f"{path}.{os.getpid()}.part"
                    self._system.put_file(file.name, part)
                    self._system.mv(part, path)
        return hashed.written

    def _make_folder(self, path: str) -> None:
        if self._scheme not in _OBJECT_STORES:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def remove(self, name: str) -> None:
        with writing(self._path(name)), suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))


@contextmanager
def _temporary() -> Iterator[Any]:
    try:
        file = tempfile.NamedTemporaryFile(prefix="promptcodec-")  # noqa: SIM115
    except OSError as error:
        raise DestinationError(f"no temporary file can be made: {error.strerror}; TMPDIR names its folder") from None
    with file:
        yield file


def _exists_already(error: Exception) -> bool:
    """Return whether a store answered that a conditional put found the name taken."""
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code", "") if isinstance(response, dict) else ""
    return code in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}


def open_storage(address: str) -> Storage:
    """Return the storage at an address or in a folder. Raises UsageError where it cannot be written to, or fsspec is
    missing.

    What it takes to get in (keys, endpoints) is configured as for fsspec: environment, or ~/.config/fsspec.
    """
    address = normalised(address)
    if not is_address(address):
        return LocalStorage(address)
    scheme = urlsplit(address).scheme
    if scheme in _READ_ONLY:
        raise UsageError(f"{address}: {scheme}:// cannot be written to")
    return RemoteStorage(address)
