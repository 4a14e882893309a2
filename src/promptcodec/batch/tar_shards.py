"""Tar shards in WebDataset's layout: pictures are coded, all other members go through as they are, in their order."""

from __future__ import annotations

import copy
import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import IO, BinaryIO, cast

from promptcodec.batch.members import Chosen, chosen_by, unsafe_name
from promptcodec.batch.records import ShardRecord
from promptcodec.batch.settings import EvalSettings
from promptcodec.batch.shards import output_name
from promptcodec.batch.sources import open_source
from promptcodec.batch.storage import Storage
from promptcodec.batch.tally import LARGEST, Tally
from promptcodec.errors import SourceError

_SMALL = 2**16  # bytes of a member that is kept while pictures are looked ahead for
_BLOCK = 512  # bytes that a tar file is divided into


def code_tar(tally: Tally, storage: Storage) -> ShardRecord:
    """Write a tar shard anew with its pictures coded; whole, or not at all.

    Raises SourceError where it is truncated or damaged, DestinationError, UsageError, and StoppedError.
    """
    shard = tally.shard
    chosen = chosen_by(tally.settings.verb, shard.extensions)
    if shard.trial:
        with _members(shard.source) as members:
            for _ in _coded(tally, members, chosen):
                pass
        return tally.record("survived")

    def fill(file: BinaryIO) -> None:
        with _members(shard.source) as members:
            if isinstance(tally.settings, EvalSettings):
                for _, data in _coded(tally, members, chosen):
                    file.write(data.getvalue() if isinstance(data, io.BytesIO) else b"")
                return
            with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as written:
                for info, data in _coded(tally, members, chosen):
                    written.addfile(info, data)

    output = storage.write(shard.output, fill)
    return replace(tally.record("done"), output_bytes=output.bytes, sha256=output.sha256)


def count_tar_members(address: str) -> int:
    """Return how many members a tar file has. Raises SourceError."""
    with _members(address) as members:
        return sum(1 for _ in members)


_Member = tuple[tarfile.TarInfo, "IO[bytes] | None"]


def _coded(tally: Tally, members: Iterator[_Member], chosen: Chosen) -> Iterator[_Member]:
    """The members of the output. With settings that measure, only the rows of each picture."""
    shard, measuring = tally.shard, isinstance(tally.settings, EvalSettings)
    names: set[str] = set()
    ahead = tally.ahead(
        _buffered(tally, members, chosen),
        lambda item: item[3],
        lambda item: item[3] is None and isinstance(item[2], _Content),
    )
    for (index, info, data, read), coding in ahead:
        tally.check_stop()
        if not shard.wants(index):
            continue
        picture = chosen(info.name)
        output = output_name(info.name, tally.settings.suffix) if picture and not measuring else info.name
        if problem := _problem(info, data, picture, output, names):
            tally.fail(f"{shard.source}/{info.name}", index, problem)
            continue
        names.add(output)
        if not picture:
            tally.carried += 1
            if not measuring:
                yield _plain(info), data
            continue
        assert data is not None
        content = data.read() if read is None else read
        name = PurePosixPath(info.name).name
        coded = tally.code(content, f"{shard.source}/{info.name}", index, name, coding)
        if coded is None:
            names.discard(output)
            continue
        yield _plain(info, output, len(coded.data)), io.BytesIO(coded.data)


def _buffered(
    tally: Tally, members: Iterator[_Member], chosen: Chosen
) -> Iterator[tuple[int, tarfile.TarInfo, IO[bytes] | None, bytes | None]]:
    """Each member by its number, with its file, and with the bytes of a picture where several are coded together.

    What is small is in memory then, so that the next member can be read; what is not has to be dealt with first.
    """
    for index, (info, data) in enumerate(members):
        content: bytes | None = None
        if tally.pictures_together > 1 and data is not None and tally.tries(index):
            if chosen(info.name) and info.size <= LARGEST:
                content = data.read()
            elif info.size <= _SMALL:
                data = io.BytesIO(data.read())
        yield index, info, data, content


def _problem(info: tarfile.TarInfo, data: IO[bytes] | None, picture: bool, output: str, names: set[str]) -> str:
    """Why a member cannot be in the output; empty where it can."""
    link = info.issym() or info.islnk()
    problem = unsafe_name(info.name)
    if info.isdir() or problem:
        return problem
    if picture and link:
        problem = f"it is a link to {info.linkname}; links to pictures are not followed"
    elif not (info.isfile() or link):
        problem = "it is neither a file, a folder nor a link"
    elif output in names:
        problem = f"another member before it is, or becomes, {output}"
    elif picture and data is not None and info.size > LARGEST:
        problem = f"the file of the picture has {info.size:,} bytes, more than {LARGEST:,}"
    return problem


def _plain(info: tarfile.TarInfo, name: str | None = None, size: int | None = None) -> tarfile.TarInfo:
    """Return a header for the output: the input's, with the name and size of a coded picture where it is one."""
    header = copy.copy(info)
    dropped = {"path", "size"} if name is not None else set()
    header.pax_headers = {
        key: value for key, value in info.pax_headers.items() if key not in dropped and not key.startswith("GNU.sparse")
    }
    if header.isfile():
        header.type = tarfile.REGTYPE  # one with holes has been read with zeros in their place
    if name is not None and size is not None:
        header.name, header.size = name, size
    return header


@contextmanager
def _members(address: str) -> Iterator[Iterator[_Member]]:
    """The members of a tar file as a stream, each with a file of its content, which is to be read before the next.

    Raises SourceError where it cannot be read, or is not whole.
    """
    with open_source(address) as source:
        if address.lower().endswith((".gz", ".tgz")):
            with gzip.GzipFile(fileobj=source, mode="rb") as unpacked:
                yield _read_members(address, _Watched(cast("IO[bytes]", unpacked)))
        else:
            yield _read_members(address, _Watched(source))


def _read_members(address: str, watched: _Watched) -> Iterator[_Member]:
    end: int = 0
    with _damage(address):
        tar = tarfile.open(fileobj=cast("IO[bytes]", watched), mode="r|")  # noqa: SIM115
    while True:
        with _damage(address):
            info = tar.next()
            if info is None:
                break
            data = tar.extractfile(info) if info.isfile() else None
            end = tar.offset
            tar.members = []  # type: ignore[attr-defined]  # what was read is never asked for again
        yield info, None if data is None else cast("IO[bytes]", _Content(address, data))
    with _damage(address):
        while watched.read(2**20):
            pass
    # tarfile takes a damaged header for the end, and a missing end mark for one.
    if watched.last_nonzero > end:
        raise SourceError(f"{address} is damaged: what follows byte {end:,} is no tar header")
    if watched.length < end + _BLOCK:
        raise SourceError(f"{address} is not complete: it lacks the end of a tar file")


@contextmanager
def _damage(address: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
        raise SourceError(f"{address} cannot be read as a tar file: {error}") from None


class _Watched:
    """A stream that knows its length and its last byte that is not zero, up to where it has been read."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self.length, self.last_nonzero = stream, 0, 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if kept := len(data.rstrip(b"\0")):
            self.last_nonzero = self.length + kept
        self.length += len(data)
        return data


class _Content:
    """The content of a member; where it ends early, that is an error of the source."""

    def __init__(self, address: str, file: IO[bytes]) -> None:
        self._address, self._file = address, file

    def read(self, size: int = -1) -> bytes:
        with _damage(self._address):
            return self._file.read() if size < 0 else self._file.read(size)
