"""A run: checkpoints, processes, guards, logs."""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
