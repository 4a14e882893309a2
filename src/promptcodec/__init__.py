"""promptcodec: one transformer image codec, steered by prompts.

>>> import promptcodec
>>> data = promptcodec.encode("photo.jpg", quality=60)   # bytes of a .ptc file
>>> image = promptcodec.decode(data)                     # a PIL image

Importing the package loads neither torch nor weights; the first call that needs them does. Its modules, such as
``promptcodec.errors``, are there without being imported by name.
"""

from __future__ import annotations

from promptcodec.system import forks as forks  # which has to see every fork: torch's threads do not survive one

TYPE_CHECKING = False  # as type checkers know it; nothing need be imported for it
if TYPE_CHECKING:
    from typing import Any

    from promptcodec.api import Info, decode, encode, info, load, preview
    from promptcodec.codec.codec import Codec
    from promptcodec.codec.search import Target

__version__ = "0.1.0"
__all__ = ["Codec", "Info", "Target", "decode", "encode", "info", "load", "preview"]

_HOMES = {"Info": "api", "decode": "api", "encode": "api", "info": "api", "load": "api", "preview": "api",
          "Codec": "codec.codec", "Target": "codec.search"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        from promptcodec.system.submodules import submodule_getter

        return submodule_getter(__name__)(name)
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value
