"""Packages whose modules are imported when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType


def submodule_getter(package: str) -> Callable[[str], ModuleType]:
    """Make a package's ``__getattr__``: ``package.name`` imports the module ``name`` in it.

    It raises AttributeError where there is no such module, and for private names.
    """

    def get(name: str) -> ModuleType:
        from importlib import import_module
        from importlib.util import find_spec

        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return get
