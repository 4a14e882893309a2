"""States of a run that it can go back to, kept beside its checkpoint.

A state is good when a whole window of steps has passed since it was taken, all of them well: one taken in the middle of
a divergence is not. So there are two at any time, the last good one and the candidate that follows it. They are taken
at fixed steps, so that what a run goes back to does not depend on when it was interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.system.atomic import atomic_write
from promptcodec.train.run.checkpoint import from_bytes, to_bytes

NAMES = "good-*.safetensors"


@dataclass(frozen=True)
class _Kept:
    step: int
    samples: int
    data: bytes


class GoodStates:
    """The last good state and the candidate, as bytes on the host; files in ``folder`` once they are written.

    A state is any that ``checkpoint.to_bytes`` takes, with ``samples``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._good: _Kept | None = None
        self._candidate: _Kept | None = None
        self._written: set[int] = set()

    @property
    def samples(self) -> int | None:
        """Samples that the good state has seen, None where there is no such state."""
        return self._good.samples if self._good is not None else None

    def begin(self, step: int, state: dict[str, Any]) -> None:
        """Take ``state`` as good: nothing better is known."""
        self._good, self._candidate = _Kept(step, state["samples"], to_bytes(state)), None

    def turn(self, step: int, state: dict[str, Any]) -> None:
        """End a window in which all was well: its candidate, if any, is good, and ``state`` the next candidate."""
        self._good = self._candidate or self._good
        self._candidate = _Kept(step, state["samples"], to_bytes(state))

    def drop_candidate(self) -> None:
        """Drop the candidate: not all has been well since it was taken."""
        self._candidate = None

    def good(self) -> dict[str, Any]:
        """Return the last good state."""
        assert self._good is not None
        return from_bytes(self._good.data)

    def state(self) -> dict[str, Any]:
        """Return the state that ``restore`` needs, besides the files."""
        named = {"good": self._good, "candidate": self._candidate}
        return {name: kept.step if kept is not None else None for name, kept in named.items()}

    def write(self) -> None:
        """Write the files that are not there yet: before the checkpoint that counts on them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for kept in self._all:
            if kept.step not in self._written:
                with atomic_write(self._path(kept.step), overwrite=True) as file:
                    file.write(kept.data)
                self._written.add(kept.step)

    def sweep(self) -> None:
        """Remove other states' files: after the checkpoint that counted on them has been replaced."""
        steps = {kept.step for kept in self._all}
        for path in set(self.folder.glob(NAMES)) - {self._path(step) for step in steps}:
            path.unlink(missing_ok=True)
        self._written &= steps

    def restore(self, state: dict[str, Any]) -> None:
        """Read the files of ``state``, as far as they are there."""
        self._good, self._candidate = (self._read(state[key]) for key in ("good", "candidate"))
        self._written = {kept.step for kept in self._all}

    @property
    def _all(self) -> list[_Kept]:
        return [kept for kept in (self._good, self._candidate) if kept is not None]

    def _read(self, step: int | None) -> _Kept | None:
        if step is None or not self._path(step).is_file():
            return None
        data = self._path(step).read_bytes()
        return _Kept(step, from_bytes(data)["samples"], data)

    def _path(self, step: int) -> Path:
        return self.folder / NAMES.replace("*", str(step))
