"""Work on CPUs below the layers: kernels compiled for the processor at hand, and threads that share a layer's parts."""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
