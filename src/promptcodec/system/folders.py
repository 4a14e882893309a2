"""Searching folders for files: each file once, links followed, in a fixed order."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path


def search_folder(
    top: Path,
    extensions: frozenset[str],
    recursive: bool,
    others: Counter[str],
    skipped: frozenset[str] = frozenset(),
) -> Iterator[tuple[Path, str]]:
    """Yield the files in ``top`` with these extensions, of one part or two (``.tar.gz``).

    Each comes under its own path rather than a link's if it can be.

    With each comes what is wrong with it, else an empty text: folders that cannot be read are listed with a problem.
    Links to folders are followed, each folder is searched once. ``others`` counts the files passed over by extension.
    ``skipped``: names and paths of folders that are not searched.
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
                if recursive and entry.name not in skipped and entry.path not in skipped:
                    (linked if entry.is_symlink() else folders).append(path)
            elif {path.suffix.lower(), "".join(path.suffixes[-2:]).lower()} & extensions and (
                _is(entry, "file") or _is_broken(entry)
            ):
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
