"""Models that ship with the package: where they are, and how model files are written and read."""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
