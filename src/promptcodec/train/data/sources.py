"""Where training pictures come from: folders and tar shards, listed without being decoded."""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from promptcodec.errors import UsageError

EXTENSIONS = {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp"}


INSTANCES = "instances.json"  # annotations in COCO's format, beside the pictures


@dataclass(frozen=True)
class Entry:
    """One encoded picture: a file, or ``size`` bytes from ``offset`` on in a tar file, where it is called ``member``.

    ``instances``: the annotations beside it in the tar file.
    """

    path: Path
    offset: int = 0
    size: int = -1
    member: str = ""
    instances: Entry | None = None

    @property
    def name(self) -> str:
        """Its own file name, with folders in a tar file."""
        return self.member or self.path.name

    def read(self) -> bytes:
        """Return the encoded bytes."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class Unit:
    """What arrives at once: a tar shard, or a picture of a folder. ``name`` is the same wherever its source lies."""

    name: str
    path: Path

    def entries(self) -> list[Entry]:
        """Return its pictures in their order. Raises UsageError where a shard is damaged or not complete."""
        if self.path.suffix.lower() != ".tar":
            return [Entry(self.path)]
        try:
            with self.path.open("rb") as file:
                file.seek(-min(512, self.path.stat().st_size), 2)
                if any(file.read(512)):  # the end mark of a tar file is zeros: without it more is to come
                    raise UsageError(f"{self.path} is not complete: it lacks the end of a tar file")
            with tarfile.open(self.path) as tar:
                files = [m for m in tar if m.isfile()]
        except (tarfile.TarError, OSError) as error:
            raise UsageError(f"{self.path} cannot be read as a tar file: {error}") from None
        entries = [Entry(self.path, m.offset_data, m.size, m.name) for m in files]
        instances = {PurePosixPath(e.name).parent: e for e in entries if PurePosixPath(e.name).name == INSTANCES}
        return [
            dataclasses.replace(e, instances=instances.get(PurePosixPath(e.name).parent))
            for e in entries
            if PurePosixPath(e.name).suffix.lower() in EXTENSIONS
        ]


def find_units(sources: Sequence[str | Path]) -> list[Unit]:
    """Return all shards and pictures of ``sources`` (tar files and folders, recursively), in name order within each.

    Units of one name are told apart by a number. Raises UsageError for sources that are neither.
    """
    units, seen = [], dict[str, int]()
    for source in map(Path, sources):
        for name, path in _of_source(source):
            seen[name] = seen.get(name, 0) + 1
            units.append(Unit(name if seen[name] == 1 else f"{name}#{seen[name]}", path))
    return units


def _of_source(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_dir():
        for path in sorted(p for p in source.rglob("*") if p.suffix.lower() in EXTENSIONS | {".tar"}):
            if not path.name.startswith("."):  # files that somebody is still writing
                yield path.relative_to(source).as_posix(), path
    elif source.suffix.lower() == ".tar" and source.is_file():
        yield source.name, source
    else:
        raise UsageError(f"training data {source} is neither a folder nor a .tar file")
