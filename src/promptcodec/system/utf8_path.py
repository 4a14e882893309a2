"""Names of files for libraries that take only what is UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def utf8_path(path: str | os.PathLike[str]) -> Iterator[str]:
    """Yield a name for the file at ``path`` that is valid UTF-8: its own, or that of an open descriptor of it.

    Raises OSError where it has to be opened for that and cannot be.
    """
    name = os.fspath(path)
    try:
        name.encode()
        encodable = True
    except UnicodeEncodeError:
        encodable = False
    if encodable:
        yield name
        return
    with Path(path).open("rb") as file:
        yield f"/dev/fd/{file.fileno()}"
