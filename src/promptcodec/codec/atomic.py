"""Files that appear whole or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_counter = itertools.count()


@contextmanager
def atomic_write(path: Path, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends, and vanishes if it raises.

    Links are followed; devices and pipes are written to directly. Raises FileExistsError unless ``overwrite``.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    if path.exists() and not overwrite:
        raise FileExistsError(17, "the file exists", str(path))
    temporary = path.with_name(f".promptcodec-{os.getpid()}-{next(_counter)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite or not _linked(temporary, path):
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _linked(temporary: Path, path: Path) -> bool:
    """Give the file its name only if nobody took that name meanwhile; False where the file system has no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(17, "the file exists", str(path)) from None
    except (OSError, NotImplementedError):
        return False
    temporary.unlink()
    return True
