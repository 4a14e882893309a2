"""Adapters: small networks that turn what a user asks for into the tensors that steer a frozen model."""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
