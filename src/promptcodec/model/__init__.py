"""Transforms and entropy models: configurations, layers, and the model that joins them."""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
