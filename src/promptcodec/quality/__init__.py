"""How close two pictures are: the measures that training, evaluation and the targets of encoding share."""

from promptcodec.system.submodules import submodule_getter

TYPE_CHECKING = False  # as type checkers know it
if not TYPE_CHECKING:
    __getattr__ = submodule_getter(__name__)
