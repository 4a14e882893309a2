"""Tar shards read as a stream, from any byte on, over connections that break."""

from __future__ import annotations

import http.client
import io
import re
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from promptcodec.errors import UsageError
from promptcodec.train.data.sources import EXTENSIONS

TIMEOUT = 30.0  # seconds without a byte
TRIES = 5  # in a row without a picture
PAUSE = 0.5  # seconds before the second try, doubled for each further one
LARGEST = 2**28  # bytes of an encoded picture
BLOCK = 512  # of tar files
PASSING = {408, 425, 429}  # answers of a server that are worth another try, beside 5xx

Say = Callable[[str], None]


@dataclass(frozen=True)
class Member:
    """An encoded picture, and the bytes of the shard that it takes from its header to the next one's."""

    name: str
    start: int
    end: int
    data: bytes


def is_remote(source: object) -> bool:
    """Return whether ``source`` is an address rather than a path."""
    return "://" in str(source)


def expand(source: str) -> list[str]:
    """Return ``shard-{000..127}.tar`` as 128 addresses; others as they are."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", source)
    if match is None:
        return [source]
    first, last = match.groups()
    if int(last) < int(first):
        raise UsageError(f"{source}: {{{first}..{last}}} counts down, expected {{{last}..{first}}}")
    numbers = (f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1))
    return [each for n in numbers for each in expand(source[: match.start()] + n + source[match.end() :])]


def members(address: str, start: int, say: Say) -> Iterator[Member]:
    """Yield the pictures of a tar shard from byte ``start`` (a header) on.

    A broken connection is taken up again where the last picture ended. What cannot be read after all is said, and
    ends the shard.
    """
    tries = 0
    while True:
        try:
            with closing(open_at(address, start)) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                base = start
                for info in tar:
                    tar.members = []  # type: ignore[attr-defined]  # what was read is never asked for again
                    end = base + info.offset_data + -(-info.size // BLOCK) * BLOCK
                    if info.isfile() and PurePosixPath(info.name).suffix.lower() in EXTENSIONS:
                        if info.size > LARGEST:
                            say(f"left out: {info.name} of {address} has {info.size:,} bytes, more than {LARGEST:,}")
                        else:
                            file = tar.extractfile(info)
                            assert file is not None
                            yield Member(info.name, base + info.offset, end, file.read())
                            tries = 0
                    start = end
            return
        except (OSError, http.client.HTTPException, tarfile.TarError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code == 416 and start:
                return  # the shard ends there
            tries += 1
            if _lasting(error) or tries >= TRIES:
                say(f"left out: the rest of {address} from byte {start:,} on: {error}")
                return
        time.sleep(PAUSE * 2 ** (tries - 1))


def _lasting(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500 and error.code not in PASSING
    return isinstance(error, (tarfile.TarError, FileNotFoundError, PermissionError))


def open_at(address: str, start: int) -> IO[bytes]:
    """Return the bytes of ``address`` from ``start`` on.

    A local path, http(s), or whatever fsspec has a file system for.

    Raises OSError where it cannot be read, and while reading where the connection ends before the file does.
    """
    scheme = urlsplit(address).scheme if is_remote(address) else ""
    if scheme in {"http", "https"}:
        return io.BufferedReader(_HttpBytes(address, start), 2**18)
    stream: IO[bytes] = _fsspec(address, scheme) if scheme else Path(address).open("rb")  # noqa: SIM115
    stream.seek(start)
    return stream


def _fsspec(address: str, scheme: str) -> IO[bytes]:
    try:
        import fsspec
    except ImportError:
        raise UsageError(f"{address}: {scheme}:// needs fsspec; install promptcodec[stream]") from None
    try:
        stream: IO[bytes] = fsspec.open(address, "rb").open()
    except (ImportError, ValueError) as error:  # a protocol whose package is missing, or that nobody knows
        raise UsageError(f"{address} cannot be opened: {error}") from None
    return stream


class _HttpBytes(io.RawIOBase):
    """The body of an answer from byte ``start`` of the file on; one that is shorter than announced is an error."""

    def __init__(self, address: str, start: int) -> None:
        headers = {"User-Agent": "promptcodec", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        request = urllib.request.Request(address, headers=headers)
        self._answer: Any = urllib.request.urlopen(request, timeout=TIMEOUT)
        self._left: int | None = self._answer.length
        if start and self._answer.status != http.client.PARTIAL_CONTENT:  # the server knows no ranges
            while start and (skipped := self.read(min(start, 2**20))):
                start -= len(skipped)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._answer.readinto(buffer))
        if self._left is not None:
            self._left -= count
            if not count and self._left > 0:
                raise ConnectionError(f"the connection ended {self._left:,} bytes early")
        return count

    def close(self) -> None:
        self._answer.close()
        super().close()
