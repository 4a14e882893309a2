"""What only informs (warnings, progress, reports) never stops the work."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from promptcodec.errors import ReportingWarning


@contextmanager
def only_informs(task: str) -> Iterator[None]:
    """Turn exceptions of a block, or of a decorated function, that only informs into a ReportingWarning.

    ``task`` says what it does, such as "counting frames". Warnings that the caller made exceptions pass, as does
    BrokenPipeError: nobody is left to be informed. Tests make a ReportingWarning an error.
    """
    try:
        yield
    except Exception as error:
        warn_of_failure(task, error, stacklevel=4)  # behind this generator and contextlib


def warn_of_failure(task: str, error: Exception, stacklevel: int = 2) -> None:
    """Turn the exception that a handler has caught into a ReportingWarning, as ``only_informs`` does."""
    if isinstance(error, (Warning, BrokenPipeError)):
        raise error
    warnings.warn(
        f"{task} failed, which concerns no picture and no file: {type(error).__name__}: {error}; please report it",
        ReportingWarning,
        stacklevel,
    )
