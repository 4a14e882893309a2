"""The input files of a command: those that are named, and those that folders hold."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptcodec.cli.streams import PIPE, say
from promptcodec.errors import UsageError
from promptcodec.system.folders import search_folder
from promptcodec.system.special_files import descriptor

_PLAIN_EXTENSION = re.compile(r"\.[a-z0-9_-]{1,16}")


@dataclass(frozen=True)
class Input:
    """A file to work on: its path as given or found, and its path in the folder that was searched, if one was.

    ``problem``: why it cannot be worked on, where that is known already.
    """

    source: str
    relative: Path
    problem: str = ""


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
        report_others(others, frozenset(name_others))
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
            searched = list(search_folder(path, extensions, recursive, others))
            matches = [Input(str(file), file.relative_to(path), problem) for file, problem in searched]
        for one in matches:
            key = one.source if one.source == PIPE else os.path.realpath(one.source)
            if key not in seen:  # a file that is named twice is coded once
                seen.add(key)
                yield one


def report_others(others: Mapping[str, int], expected: frozenset[str]) -> None:
    """Say on standard error how many files of which extensions were passed over, but for the ``expected`` ones."""
    counted: Counter[str] = Counter()
    for suffix, number in others.items():
        if suffix not in expected:
            counted[suffix if _PLAIN_EXTENSION.fullmatch(suffix) else "others" if suffix else "no extension"] += number
    if counted:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counted.items()))
        what = "1 file that is no picture" if counted.total() == 1 else f"{counted.total()} files that are no pictures"
        say(f"promptcodec: passed over {what}: {kinds}", error=True)
