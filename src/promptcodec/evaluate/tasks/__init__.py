"""Codecs by what recognisers still see in their pictures."""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
