"""The field's test sets by name: what a folder must hold to be one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from promptcodec.errors import ImageError, UsageError
from promptcodec.evaluate.data.datasets import find_pictures


@dataclass(frozen=True)
class NamedSet:
    """``count``: of its pictures, None where that is not checked; ``sizes``: all (width, height) in it, None for
    any; ``side``: least of its pictures' long sides, in pixels."""

    title: str
    count: int | None = None
    sizes: frozenset[tuple[int, int]] | None = None
    side: int = 1


_CLIC = "from https://compression.cc: pictures of phones and cameras, up to 2K wide"
NAMED_SETS = {
    "kodak": NamedSet("Kodak PhotoCD PCD0992", 24, frozenset({(768, 512), (512, 768)})),
    "cid22": NamedSet("Cloudinary CID22, validation", 49, frozenset({(512, 512)})),
    "clic2020": NamedSet(f"CLIC 2020, validation, professional; {_CLIC}", 41, side=720),
    "clic2020-mobile": NamedSet(f"CLIC 2020, validation, mobile; {_CLIC}", 61, side=720),
    **{f"clic{year}": NamedSet(f"CLIC {year}, validation or test; {_CLIC}", side=720) for year in range(2021, 2027)},
    "tecnick": NamedSet("Tecnick TESTIMAGES, RGB, 1200x1200", 100, frozenset({(1200, 1200)})),
}
COCO = "coco"
"""The set that comes with masks; see ``coco.prepare``."""


def split_name(source: str) -> tuple[str | None, Path]:
    """Return the name and the folder in ``NAME=FOLDER``; a plain path has no name.

    Raises UsageError for unknown names.
    """
    name, equals, folder = source.partition("=")
    if not equals or Path(source).exists():
        return None, Path(source)
    if name not in NAMED_SETS and name != COCO:
        raise UsageError(
            f"there is no data set {name!r} (known: {', '.join(NAMED_SETS)}, {COCO}), and no file {source}"
        )
    return name, Path(folder)


def open_set(name: str, folder: Path) -> tuple[list[Path], str | None]:
    """Return the pictures of a named set, and what is to be said about a part of it, None for the whole.

    Raises UsageError where the folder holds other pictures: too many of them, or of other sizes.
    """
    named_set = NAMED_SETS[name]
    if not folder.is_dir():
        raise UsageError(f"{name} is given as a folder of its pictures, but there is no folder {folder}")
    pictures = find_pictures([folder])
    for path in pictures:
        width, height = _size(path)
        if named_set.sizes is not None and (width, height) not in named_set.sizes:
            sizes = " or ".join(f"{w}x{h}" for w, h in sorted(named_set.sizes))
            raise UsageError(f"{path} is {width}x{height}, but the pictures of {name} ({named_set.title}) are {sizes}")
        if max(width, height) < named_set.side:
            raise UsageError(
                f"{path} is {width}x{height}, too small to be of {name} ({named_set.title}): expected a side of "
                f"{named_set.side} pixels or more"
            )
    if named_set.count is None or len(pictures) == named_set.count:
        return pictures, None
    if len(pictures) > named_set.count:
        raise UsageError(f"{folder} holds {len(pictures)} pictures, {name} ({named_set.title}) has {named_set.count}")
    return pictures, f"{len(pictures)} of the {named_set.count} pictures of {name}: figures of the whole set differ"


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(f"cannot read the picture {path}: {error}") from error
