"""The work on one shard, whoever runs it: read, code, publish, record."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from functools import lru_cache

from promptcodec.batch.engine import Alone, Control
from promptcodec.batch.errors import StoppedError, explain
from promptcodec.batch.file_shards import code_files
from promptcodec.batch.manifest import Manifest, digest_for
from promptcodec.batch.records import Failure, ShardRecord
from promptcodec.batch.settings import Settings
from promptcodec.batch.shards import Shard
from promptcodec.batch.storage import Storage, open_storage
from promptcodec.batch.tally import Tally
from promptcodec.errors import DestinationError, SourceError, UsageError

_storage = lru_cache(8)(open_storage)
_ALONE = Alone()


def process_shard(shard: Shard, settings: Settings, control: Control = _ALONE) -> ShardRecord:
    """Code a shard, publish what it becomes, and then its record, which is returned.

    Needs nothing but the addresses in ``shard``; the codec is loaded at the first shard of a process and stays. Until
    the record is in the manifest, the shard is not done, and may be done again by anybody: the same outputs take the
    same names. A shard whose source is damaged gives a record with the status ``failed``; one that could not be read
    this time, as when a store does not answer, ``unread``, and no record is kept. A trial writes nothing.

    Raises DestinationError where nothing can be written, and UsageError for what is wrong with every shard.
    """
    begin = time.perf_counter()
    digest, fingerprint = digest_for(settings, shard.extensions, shard.column)
    storage, tally = _storage(shard.destination), Tally(shard, settings, control)
    try:
        tally.check_stop()
        record = _code(tally, storage)
    except StoppedError:
        return Tally(shard, settings, control).record("stopped")
    except (UsageError, DestinationError):
        raise
    except Exception as error:
        damaged = isinstance(error, SourceError) and error.scope == "file"
        failure = Failure(shard.name, explain(error))
        record = Tally(shard, settings, control).record("failed" if damaged else "unread")
        record = replace(record, failures=(failure,))
    record = replace(
        record, settings=digest, fingerprint=fingerprint, seconds=round(time.perf_counter() - begin, 3),
        worker=f"{socket.gethostname()}:{os.getpid()}",
    )  # fmt: skip
    if shard.trial is None and record.status in ("done", "failed"):
        Manifest(storage).add(record, replace_earlier=shard.again)
    return record


def _code(tally: Tally, storage: Storage) -> ShardRecord:
    if tally.shard.kind == "files":
        return code_files(tally, storage)
    if tally.shard.kind == "tar":
        from promptcodec.batch.tar_shards import code_tar

        return code_tar(tally, storage)
    from promptcodec.batch.parquet_shards import code_parquet

    return code_parquet(tally, storage)


def count_members(shard: Shard) -> int:
    """Return how many members a shard has, by the numbers that trials and exclusions use. Raises SourceError."""
    if shard.kind == "files":
        return len(shard.members)
    if shard.kind == "tar":
        from promptcodec.batch.tar_shards import count_tar_members

        return count_tar_members(shard.source)
    from promptcodec.batch.parquet_shards import count_parquet_rows

    return count_parquet_rows(shard.source)
