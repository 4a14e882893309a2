"""Kernels that LLVM compiles for this very processor, where llvmlite is installed (``pip install promptcodec[fast]``).

Each has a counterpart made of torch's operators, which stands in where there is none.
"""

from typing import TYPE_CHECKING

from promptcodec.system.submodules import submodule_getter

if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
