"""What the operating system gives: files that appear whole or not at all, memory, optional packages. No torch."""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
