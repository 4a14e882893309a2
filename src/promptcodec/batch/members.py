"""Which members of archives are pictures, and which names no archive should have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from promptcodec.picture.extensions import picture_extensions


@dataclass(frozen=True)
class Chosen:
    """Tells pictures from what is carried through, by the names of members.

    ``extensions``: with their dots, in small letters. ``seg.png`` in WebDataset's sense, all behind the first dot of a
    name, counts as well as ``png``.
    """

    extensions: frozenset[str]

    def __call__(self, name: str) -> bool:
        last = PurePosixPath(name).name.lower()
        stem, dot, whole = last.partition(".")
        return bool(stem and dot) and (f".{whole}" in self.extensions or PurePosixPath(last).suffix in self.extensions)


def chosen_by(verb: str, extensions: Iterable[str] = ()) -> Chosen:
    """Return what a job takes for pictures: those ``extensions``; without any, all that Pillow reads, or .ptc to
    decode.
    """
    suffixes = frozenset("." + extension.lower().lstrip(".") for extension in extensions)
    return Chosen(suffixes or (frozenset({".ptc"}) if verb == "decode" else picture_extensions()))


def unsafe_name(name: str) -> str:
    """Why a name must not be passed on in an archive, or be written to; empty where it may."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or name[1:2] == ":":
        return "its name is an absolute path"
    if ".." in path.parts:
        return "its name leads out of the archive (..)"
    if not path.parts or "\0" in name:
        return "its name is empty or holds a zero byte"
    return ""
