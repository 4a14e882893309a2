"""What became of a shard: the record that the manifest keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from promptcodec.batch.shards import Kind
from promptcodec.errors import PromptcodecError

SCHEMA = 1

Sums = Mapping[str, Mapping[str, tuple[float, int]]]
"""Of measurements: by codec and setting, then by metric, the sum and how many values it has."""


@dataclass(frozen=True)
class Coded:
    """What became of one picture: its output, the size of the picture in pixels, and sums of measurements, if any."""

    data: bytes
    width: int
    height: int
    sums: Sums = field(default_factory=dict)


Status = Literal["done", "failed", "unread", "stopped", "survived"]


@dataclass(frozen=True)
class Failure:
    """A picture without an output, and the sentence that says why.

    ``index``: its place among the shard's members, -1 where it is not one of them; ``output``: the name that a loose
    file's output would have had.
    """

    file: str
    message: str
    index: int = -1
    output: str = ""


@dataclass(frozen=True)
class WrittenFile:
    """An output of a shard of loose files. ``name``: below the destination; "" where it is a part of the shard's one
    output, as rows of measurements are.
    """

    source: str
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """What became of a shard.

    ``status``: ``done``, all of it was tried and what could be coded has been written; ``failed``, the shard as a whole
    cannot be read, nor will the next time; ``unread``, it could not be read this time; ``stopped``, it was dropped
    (of loose files: before the first was finished); ``survived``, a trial ended well. Only ``done`` and ``failed`` are
    kept in a manifest.

    ``bytes_in``, ``bytes_out``: of the pictures and of what they became; ``pixels``: of the pictures that were coded;
    ``carried``: members or rows that went through. ``output_bytes``, ``sha256``: of the one output of a tar or Parquet
    shard; ``files``: the outputs of loose files. ``warnings``: for each sentence how often it was said, and of which
    picture first. ``sums``: of measurements.
    ``settings``, ``fingerprint``: of the job.
    """

    shard: str
    kind: Kind
    status: Status
    source: str
    output: str
    pictures: int = 0
    pixels: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    carried: int = 0
    output_bytes: int = 0
    sha256: str = ""
    files: tuple[WrittenFile, ...] = ()
    failures: tuple[Failure, ...] = ()
    warnings: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    sums: Sums = field(default_factory=dict)
    settings: str = ""
    fingerprint: str = ""
    seconds: float = 0.0
    worker: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the record as what JSON knows."""
        return {"schema": SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> ShardRecord:
        """Read what ``as_json`` gave. Raises PromptcodecError for anything else."""
        try:
            if content["schema"] != SCHEMA:
                raise PromptcodecError(f"the record has schema {content['schema']}; this release knows {SCHEMA}")
            fields = {key: value for key, value in content.items() if key in cls.__dataclass_fields__}
            fields["files"] = tuple(WrittenFile(**each) for each in fields.get("files", ()))
            fields["failures"] = tuple(Failure(**each) for each in fields.get("failures", ()))
            fields["warnings"] = {text: (int(n), str(first)) for text, (n, first) in fields["warnings"].items()}
            fields["sums"] = {
                key: {name: (float(total), int(n)) for name, (total, n) in metrics.items()}
                for key, metrics in fields.get("sums", {}).items()
            }
            return cls(**fields)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PromptcodecError(f"the record of a shard cannot be read: {error!r}") from None


def add_sums(one: Sums, other: Sums) -> Sums:
    """Return the sums of both."""
    total = {key: dict(metrics) for key, metrics in one.items()}
    for key, metrics in other.items():
        into = total.setdefault(key, {})
        for name, (value, count) in metrics.items():
            before = into.get(name, (0.0, 0))
            into[name] = (before[0] + value, before[1] + count)
    return total


@dataclass(frozen=True)
class Progress:
    """What was done since the last time."""

    pictures: int = 0
    failures: int = 0
    pixels: int = 0
    bytes_in: int = 0
    bytes_out: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(*(a + b for a, b in zip(self._numbers(), other._numbers(), strict=True)))

    def __sub__(self, other: Progress) -> Progress:
        return Progress(*(a - b for a, b in zip(self._numbers(), other._numbers(), strict=True)))

    def _numbers(self) -> tuple[int, ...]:
        return (self.pictures, self.failures, self.pixels, self.bytes_in, self.bytes_out)
