"""Compiled kernels where they can be had: torch's operators stand in elsewhere."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import TypeVar

Kernels = TypeVar("Kernels")


def kernels_or_none(compile_them: Callable[[], Kernels | None], what: str) -> Kernels | None:
    """Return what ``compile_them`` does; None without llvmlite.

    None too where compiling fails, with a warning in the log that names ``what``, which goes on by torch.
    """
    if importlib.util.find_spec("llvmlite") is None:
        return None
    try:
        return compile_them()
    except Exception as error:  # whatever a compiler may say, or a system that forbids new machine code
        logging.getLogger(__name__).warning("%s goes on without compiled kernels: %s", what, error)
        return None
