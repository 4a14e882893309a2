"""Shards of loose files: each output is a file of its own, and counts once the shard's record names it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from promptcodec.batch.records import ShardRecord, WrittenFile
from promptcodec.batch.settings import EvalSettings
from promptcodec.batch.shards import FileMember
from promptcodec.batch.sources import read_source
from promptcodec.batch.storage import Storage
from promptcodec.batch.tally import Tally
from promptcodec.errors import SourceError

TRIES = 3  # of a read that fails for a reason that may pass
PAUSE = 0.5  # seconds before the second, doubled for each further one


def code_files(tally: Tally, storage: Storage) -> ShardRecord:
    """Code the files of a shard and write their outputs; when the job is stopped, those that are finished count.

    Raises SourceError where the storage of the sources refuses or fails, DestinationError and UsageError.
    """
    measuring, rows = isinstance(tally.settings, EvalSettings), b""
    with ThreadPoolExecutor(1) as reader:
        files = tally.ahead(
            _read_ahead(tally, reader),
            lambda item: item[2] if isinstance(item[2], bytes) and tally.tries(item[0]) else None,
        )
        for (index, member, data), coding in files:
            if tally.control.stopping():
                tally.keep_first(index)
                break
            if isinstance(data, SourceError):
                tally.fail(member.source, index, str(data))
                continue
            coded = tally.code(data, member.source, index, member.source.rpartition("/")[2], coding)
            if coded is None or tally.shard.trial:
                continue
            if measuring:
                rows += coded.data
                tally.files.append(WrittenFile(member.source, "", len(coded.data), ""))
                continue
            written = storage.put(member.output, coded.data)
            tally.files.append(WrittenFile(member.source, member.output, written.bytes, written.sha256))
    if not tally.shard.members:
        return tally.record("stopped")
    if tally.shard.trial:
        return tally.record("survived")
    record = tally.record("done")
    if not measuring:
        return record
    name = f"rows-{tally.shard.id}.jsonl"
    written = storage.put(name, rows)
    return replace(record, output=name, output_bytes=written.bytes, sha256=written.sha256)


def _read_ahead(tally: Tally, reader: ThreadPoolExecutor) -> Iterator[tuple[int, FileMember, bytes | SourceError]]:
    """The members that are wanted, each with its bytes: the next one comes in while one is coded."""
    members = [(index, member) for index, member in enumerate(tally.shard.members) if tally.shard.wants(index)]
    following: Future[bytes | SourceError] | None = None
    for place, (index, member) in enumerate(members):
        data = following.result() if following else _read(member.source)
        following = reader.submit(_read, members[place + 1][1].source) if place + 1 < len(members) else None
        yield index, member, data


def _read(source: str) -> bytes | SourceError:
    """Return the bytes of a file, or why it has none. Raises SourceError where that concerns others too."""
    for attempt in range(1, TRIES + 1):
        try:
            return read_source(source)
        except SourceError as error:
            if error.scope == "file":
                return error
            if error.scope == "access" or attempt == TRIES:
                raise
        time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError
