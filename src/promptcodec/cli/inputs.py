"""The input files of a command: those that are named, and those that folders hold."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from promptcodec.cli.streams import PIPE, say
from promptcodec.errors import UsageError
from promptcodec.system.special_files import descriptor

# Pillow knows the extensions of these and opens them with programs that are elsewhere, if at all; or they are data
# or drawings rather than pictures. Named files of these kinds are tried.
_NO_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PTC", "WMF"})
_PLAIN_EXTENSION = re.compile(r"\.[a-z0-9_-]{1,16}")


@dataclass(frozen=True)
class Input:
    """A file to work on: its path as given or found, and its path in the folder that was searched, if one was.

    ``problem``: why it cannot be worked on, where that is known already.
    """

    source: str
    relative: Path
    problem: str = ""


@cache
def picture_extensions() -> frozenset[str]:
    """Return all extensions of pictures that Pillow reads, such as ``.png``."""
    from PIL import Image

    Image.init()
    readable = set(Image.OPEN) - _NO_PICTURES | {"MPO"}  # which is opened as JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)


def find(
    inputs: Sequence[str], extensions: Iterable[str], recursive: bool, name_others: Iterable[str] | None = None
) -> list[Input]:
    """Return every input file, each once; folders are searched for ``extensions``, with ``recursive`` those in them
    too.

    Links to folders are followed, each folder is searched once. A folder that cannot be read becomes an input with a
    problem. With ``name_others`` the files in folders that are passed over are counted on standard error, but for
    these extensions. Raises UsageError where nothing is found.
    """
    others: Counter[str] = Counter()
    suffixes = frozenset(extensions)
    files = list(_expand(inputs, suffixes, recursive, others))
    if name_others is not None:
        _report_others(others, frozenset(name_others))
    if not files:
        raise UsageError(f"no pictures found in {', '.join(inputs)}" + ("" if recursive else " (sub-folders need -r)"))
    return files


def _expand(
    inputs: Sequence[str], extensions: frozenset[str], recursive: bool, others: Counter[str]
) -> Iterator[Input]:
    seen: set[str] = set()
    for item in inputs:
        if not item:
            raise UsageError("an input is empty: expected a file, a folder or -")
        item = PIPE if descriptor(item) == 0 else item
        path = Path(item)
        matches = [Input(item, Path(path.name))]
        if item != PIPE and path.is_dir():
            searched = list(_search(path, extensions, recursive, others))
            matches = [Input(str(file), file.relative_to(path), problem) for file, problem in searched]
        for one in matches:
            key = one.source if one.source == PIPE else os.path.realpath(one.source)
            if key not in seen:  # a file that is named twice is coded once
                seen.add(key)
                yield one


def _search(top: Path, extensions: frozenset[str], recursive: bool, others: Counter[str]) -> Iterator[tuple[Path, str]]:
    """Yield the files of these extensions, and what is wrong with them, in a fixed order.

    Each under its own folder if it can.
    """
    files: list[tuple[Path, str]] = []
    links: list[tuple[Path, str]] = []
    visited: set[str] = set()
    folders, linked = deque([top]), deque[Path]()  # links last, so that files are found where they lie
    while folders or linked:
        folder = folders.popleft() if folders else linked.popleft()
        real = os.path.realpath(folder)
        if real in visited:
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            files.append((folder, f"the folder cannot be read: {error.strerror or error}"))
            continue
        for entry in listed:
            path = Path(entry.path)
            if _is(entry, "dir"):
                if recursive:
                    (linked if entry.is_symlink() else folders).append(path)
            elif path.suffix.lower() in extensions and (_is(entry, "file") or _is_broken(entry)):
                (links if entry.is_symlink() else files).append((path, ""))
            else:
                others[path.suffix.lower()] += 1
    first: dict[str, tuple[Path, str]] = {}
    for path, problem in files + links:  # a file's own path goes before a link to it
        first.setdefault(os.path.realpath(path), (path, problem))
    yield from sorted(first.values())


def _is(entry: os.DirEntry[str], kind: str) -> bool:
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError:  # a link to a place that may not be looked at, or to itself
        return False


def _is_broken(entry: os.DirEntry[str]) -> bool:
    """Return whether this is a link that leads nowhere: opening it will say so."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110


def _report_others(others: Counter[str], expected: frozenset[str]) -> None:
    counted: Counter[str] = Counter()
    for suffix, number in others.items():
        if suffix not in expected:
            counted[suffix if _PLAIN_EXTENSION.fullmatch(suffix) else "others" if suffix else "no extension"] += number
    if counted:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
        what = "1 file that is no picture" if counted.total() == 1 else f"{counted.total()} files that are no pictures"
        say(f"promptcodec: passed over {what}: {kinds}", error=True)
