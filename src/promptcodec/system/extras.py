"""Packages that come with the optional extras only."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from promptcodec.errors import UsageError


def import_extra(module: str, package: str, extra: str = "eval") -> Any:
    """The imported ``module`` of the distribution ``package``. Raises UsageError that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{package} is not installed: pip install 'promptcodec[{extra}]'") from error
