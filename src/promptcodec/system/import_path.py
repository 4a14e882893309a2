"""Keep the working folder off the paths that modules are imported from: a ``pickle.py`` there is a picture's neighbour.

Python puts it there for ``python -m`` and for the processes that multiprocessing spawns, and a colon too many in
PYTHONPATH does. Imports nothing that is not loaded when Python starts: it would come from there.
"""

from __future__ import annotations

import os
import sys

from promptcodec.errors import UsageError


def leave_out_working_folder() -> None:
    """Take the working folder off this process' path, unless this package or the standard library is there."""
    sys.path[:] = _without(sys.path, _unwanted())


class SafeChildren:
    """A context in which Python processes are begun that do not look for modules in the working folder.

    Raises UsageError where Python was told to ignore the variable that says so.
    """

    def __enter__(self) -> None:
        if sys.flags.ignore_environment and not sys.flags.safe_path:
            raise UsageError("python -E would have worker processes import from the working folder; give -P as well")
        unwanted = _unwanted()
        self._path = sys.path.copy()  # which multiprocessing hands on
        self._variables = {name: os.environ.get(name) for name in ("PYTHONSAFEPATH", "PYTHONPATH")}
        sys.path[:] = _without(sys.path, unwanted)
        os.environ["PYTHONSAFEPATH"] = "1"
        if before := self._variables["PYTHONPATH"]:
            os.environ["PYTHONPATH"] = os.pathsep.join(_without(before.split(os.pathsep), unwanted))

    def __exit__(self, *error: object) -> None:
        sys.path[:] = self._path
        for name, value in self._variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class ProgramNotImported:
    """A context in which multiprocessing spawns processes that do not import the program's ``__main__`` again.

    They need nothing of it, it may begin everything anew where it lacks ``if __name__ == "__main__"``, and it may be
    a module of the working folder, from which they import nothing.
    """

    def __enter__(self) -> None:
        self._program = sys.modules["__main__"]
        sys.modules["__main__"] = type(sys)("__main__")

    def __exit__(self, *error: object) -> None:
        sys.modules["__main__"] = self._program


def _unwanted() -> str | None:
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109 - pathlib is not loaded yet
    except OSError:  # it was deleted
        return None
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))  # noqa: PTH120
    return None if here in (package, os.path.dirname(os.path.realpath(os.__file__))) else here  # noqa: PTH120


def _without(entries: list[str], folder: str | None) -> list[str]:
    return [entry for entry in entries if folder is None or os.path.realpath(entry or os.curdir) != folder]
