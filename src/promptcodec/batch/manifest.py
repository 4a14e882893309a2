"""The manifest of a destination: what a job is, and a record for each shard that is done.

``_promptcodec/job.json`` says what the outputs were made with, and never changes; ``_promptcodec/shards/ID.json`` is a
shard's record. A shard is done when its record is there: workers write it last, after the outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any

from promptcodec.batch.records import SCHEMA, Failure, ShardRecord
from promptcodec.batch.settings import Settings, settings_from_json
from promptcodec.batch.shards import CHUNK, MANIFEST_FOLDER, FileMember, Shard
from promptcodec.batch.storage import Storage, open_storage
from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.system.printable import json_text

READERS = 32  # records that are fetched at once
JOB, SHARDS, FAILURES = f"{MANIFEST_FOLDER}/job.json", f"{MANIFEST_FOLDER}/shards", f"{MANIFEST_FOLDER}/failures.jsonl"


@dataclass(frozen=True)
class Job:
    """What all outputs of a destination have in common.

    ``extensions`` and ``column`` choose the pictures in tar and Parquet files; ``sources`` are those of the first run,
    for information.
    """

    settings: Settings
    extensions: tuple[str, ...] = ()
    column: str = ""
    sources: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return what must be equal, by the names that people know."""
        return {
            "verb": self.settings.verb, "model": self.settings.fingerprint(), "extensions": sorted(self.extensions),
            "column": self.column, **self.settings.identity(),
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the job as what JSON knows."""
        return {
            "schema": SCHEMA, "identity": self.identity(), "digest": self.digest(),
            "settings": asdict(self.settings), "sources": list(self.sources),
        }  # fmt: skip

    def digest(self) -> str:
        """Sixteen hex digits over the identity, which every record repeats."""
        return digest_of(self.identity())


def digest_of(identity: Mapping[str, Any]) -> str:
    """Sixteen hex digits over the identity of a job."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


@lru_cache(8)
def digest_for(settings: Settings, extensions: tuple[str, ...], column: str) -> tuple[str, str]:
    """Return the digest of a job, and the fingerprint of its model, for the records that a worker writes."""
    job = Job(settings, extensions, column)
    return job.digest(), settings.fingerprint()


@dataclass
class Done:
    """What the records of a manifest say when they are taken together.

    ``records``: by the id of their shard. ``files``: the outputs of loose files; ``failed``: their failures, by source,
    but for those that were done later.
    """

    records: dict[str, ShardRecord] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    failed: dict[str, Failure] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[ShardRecord]) -> Done:
        """Take records together."""
        done = cls()
        for record in records:
            done.add(record)
        return done

    def add(self, record: ShardRecord) -> None:
        """Take one more record in, which replaces that of the same shard."""
        self.records[record.shard] = record
        if record.kind == "files":
            self.files.update(file.source for file in record.files)
            self.failed.update({failure.file: failure for failure in record.failures})

    def shards_to_retry(self, job: Job, destination: str) -> list[Shard]:
        """Shards that try again all that failed: of loose files those alone, of archives the whole."""
        common = {"extensions": job.extensions, "column": job.column, "again": True}
        shards, loose = [], list[FileMember]()
        for record in self.records.values():
            if record.kind != "files" and record.failures:
                shards.append(Shard(record.kind, record.source, record.output, destination, **common))  # type: ignore[arg-type]
        for source, failure in sorted(self.failed.items()):
            if source not in self.files:
                loose.append(FileMember(source, failure.output))
        for first in range(0, len(loose), CHUNK):
            members = tuple(loose[first : first + CHUNK])
            shards.append(Shard("files", "", "", destination, members, **common))  # type: ignore[arg-type]
        return shards

    def failures(self) -> list[Failure]:
        """Every failure once, by name."""
        loose = [failure for source, failure in self.failed.items() if source not in self.files]
        archived = [each for record in self.records.values() if record.kind != "files" for each in record.failures]
        return sorted(loose + archived, key=lambda failure: (failure.file, failure.index))

    def remaining(self, shards: Iterable[Shard]) -> list[Shard]:
        """Return what is left of ``shards``: of those of loose files, the files that no record names."""
        left = []
        for shard in shards:
            if shard.kind != "files":
                if shard.id not in self.records:
                    left.append(shard)
                continue
            members = tuple(
                member for member in shard.members
                if member.source not in self.files and member.source not in self.failed
            )  # fmt: skip
            if members:
                left.append(replace(shard, members=members))
        return left


class Manifest:
    """The manifest of a destination."""

    def __init__(self, destination: str | Storage) -> None:
        self.storage = open_storage(destination) if isinstance(destination, str) else destination

    def begin(self, job: Job, overwrite: bool = False) -> None:
        """Make this the destination of ``job``, unless it is already.

        Raises UsageError where it is another job's, or holds other files and may not be overwritten.
        """
        if self.read_job() is None:
            if not overwrite and not self.storage.empty():
                raise UsageError(
                    f"{self.storage.address} holds files but no manifest of a job: give an empty destination, or "
                    "--overwrite to write among them"
                )
            self.storage.create(JOB, json.dumps(job.as_json(), indent=1).encode())
        stored = self.read_job()
        if stored is None:
            raise PromptcodecError(f"{self.storage.address}/{JOB} is gone: something removes files there")
        theirs, ours = stored["identity"], json.loads(json.dumps(job.identity()))
        different = [key for key in sorted({*theirs, *ours}) if theirs.get(key) != ours.get(key)]
        if different:
            parts = "; ".join(f"{key} {_shown(theirs.get(key))}, not {_shown(ours.get(key))}" for key in different)
            raise UsageError(f"{self.storage.address} was begun with {parts}: give another destination for these")

    def read_job(self) -> dict[str, Any] | None:
        """Return what ``job.json`` says, None where there is none. Raises PromptcodecError where it cannot be read."""
        data = self.storage.read(JOB)
        if data is None:
            return None
        try:
            stored = json.loads(data)
            if stored["schema"] != SCHEMA:
                raise PromptcodecError(
                    f"{self.storage.address}/{JOB} is of another release (schema {stored['schema']})"
                )
            return {"identity": dict(stored["identity"]), "digest": stored["digest"], "settings": stored["settings"],
                    "sources": stored["sources"]}  # fmt: skip
        except (ValueError, KeyError, TypeError):
            raise PromptcodecError(f"{self.storage.address}/{JOB} cannot be read: it is damaged") from None

    def job(self) -> Job:
        """Return the job of this destination. Raises UsageError where there is none, PromptcodecError."""
        stored = self.read_job()
        if stored is None:
            raise UsageError(f"{self.storage.address} holds no manifest of a job ({JOB})")
        identity = stored["identity"]
        settings = settings_from_json(identity["verb"], stored["settings"])
        return Job(settings, tuple(identity["extensions"]), identity["column"], tuple(stored["sources"]))

    def done(self) -> Done:
        """Return all records together. Raises PromptcodecError where one is damaged, or made with other settings."""
        stored = self.read_job()
        names = [name for name in self.storage.names(SHARDS) if name.endswith(".json")]
        with ThreadPoolExecutor(READERS) as pool:
            records = list(pool.map(self._record, names))
        for record in records:
            if stored is None or record.settings != stored["digest"]:
                raise PromptcodecError(
                    f"{self.storage.address}/{SHARDS}/{record.shard}.json is of a job with other settings; outputs of "
                    "both are mixed there"
                )
        return Done.of(records)

    def wrong_outputs(self, done: Done) -> Iterator[str]:
        """Names of the outputs that are missing, or whose bytes are not those that were recorded."""
        for record in done.records.values():
            outputs = [(file.name, file.sha256) for file in record.files if file.name]
            if record.output and record.status == "done":
                outputs.append((record.output, record.sha256))
            for name, recorded in outputs:
                if self.storage.sha256(name) != recorded:
                    yield name

    def remaining(self, shards: Iterable[Shard]) -> list[Shard]:
        """Return what the manifest leaves of ``shards``."""
        return self.done().remaining(shards)

    def add(self, record: ShardRecord, replace_earlier: bool = False) -> None:
        """Keep the record of a shard, unless another worker was done with it before. Raises DestinationError."""
        name, data = f"{SHARDS}/{record.shard}.json", json.dumps(record.as_json()).encode()
        if replace_earlier:
            self.storage.put(name, data)
        else:
            self.storage.create(name, data)

    def write_failures(self, failures: Sequence[Failure]) -> None:
        """Write the list of all failures, a line of JSON each."""
        lines = (json_text({"file": each.file, "message": each.message}) + "\n" for each in failures)
        self.storage.put(FAILURES, "".join(lines).encode())

    def _record(self, name: str) -> ShardRecord:
        data = self.storage.read(f"{SHARDS}/{name}")
        try:
            return ShardRecord.from_json(json.loads(data or b""))
        except (PromptcodecError, ValueError) as error:
            raise PromptcodecError(f"{self.storage.address}/{SHARDS}/{name} cannot be read: {error}") from None


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        value = ", ".join(f"{name}={each}" for name, each in value.items())
    return "none" if value in (None, [], "") else str(value)
