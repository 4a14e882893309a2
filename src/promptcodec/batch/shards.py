"""Shards: what a worker takes at once, and where the output of it goes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

MANIFEST_FOLDER = "_promptcodec"  # below a destination; readers of data sets pass over names that begin so

CHUNK = 64  # loose files in a shard, at most

Kind = Literal["files", "tar", "parquet"]


@dataclass(frozen=True)
class FileMember:
    """A file of a shard of loose files: its address, and its output's name below the destination."""

    source: str
    output: str


@dataclass(frozen=True)
class Shard:
    """A tar file, a Parquet file, or some loose files. Small and picklable: it names pictures and holds none.

    ``source``: address of the tar or Parquet file, or of the folder in which the files were found. ``output``: name of
    the output below ``destination``, ``a/train-000.tar``; of loose files each has its own. ``size``: bytes of the
    source, 0 where unknown. ``excluded``: members that are not to be tried, by their index, and why: they killed
    workers. ``trial``: only members ``first <= index < last`` are coded, and nothing is written: it tells whether a
    worker survives them. ``again``: a record of an earlier attempt is to be replaced.

    ``extensions``: of the members of tar files that are pictures, all known ones where there are none. ``column``: of
    the pictures in a Parquet file, "" for the one that can be it.
    """

    kind: Kind
    source: str
    output: str
    destination: str
    members: tuple[FileMember, ...] = ()
    size: int = 0
    excluded: tuple[tuple[int, str], ...] = ()
    trial: tuple[int, int] | None = None
    again: bool = False
    extensions: tuple[str, ...] = ()
    column: str = ""

    @property
    def id(self) -> str:
        """Sixteen hex digits that follow from what the shard writes: those of its record in the manifest."""
        digest = hashlib.sha256(f"{self.kind}\n{self.output}\n".encode("utf-8", "surrogateescape"))
        for member in self.members:
            digest.update(f"{member.output}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:16]

    @property
    def name(self) -> str:
        """What people know it by."""
        if self.kind != "files":
            return self.source
        first = self.members[0].source
        return first if len(self.members) == 1 else f"{first} and {len(self.members) - 1} more"

    def excluding(self, index: int) -> str | None:
        """Why the member ``index`` is not to be tried; None for those that are."""
        return next((reason for number, reason in self.excluded if number == index), None)

    def wants(self, index: int) -> bool:
        """Return whether the member ``index`` belongs to this trial; all do where it is none."""
        return self.trial is None or self.trial[0] <= index < self.trial[1]

    def for_trial(self, first: int, last: int) -> Shard:
        """This shard as a trial of some of its members."""
        return replace(self, trial=(first, last))

    def without(self, excluded: dict[int, str]) -> Shard:
        """This shard without the members ``excluded``, by their index, which are recorded as failures."""
        return replace(self, trial=None, excluded=tuple(sorted(excluded.items())))


def output_name(name: str, suffix: str) -> str:
    """``name``, whose folders stay as they are written, with another extension: ``./a/b.left.jpg``, ``./a/b.left.ptc``.

    ``name`` must have an extension.
    """
    return name[: len(name) - len(PurePosixPath(name).suffix)] + suffix
