"""Training pictures, crops of them, and controls drawn for each."""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
