"""Networks with a clock on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from promptcodec.codec.backend import Backend

T = TypeVar("T")


class TimedBackend:
    """A backend that adds up the wall-clock seconds of analysis and synthesis in ``phases``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.phases: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def begin(self) -> float:
        """Start over, and the clock."""
        self.phases = {}
        return time.perf_counter()

    def end(self, side: str, start: float) -> None:
        """Report what no phase has taken since ``start`` as a phase of its own: entropy coding, files and copies."""
        self.phases[side] = time.perf_counter() - start - sum(self.phases.values())

    def analyse(self, *arguments: Any) -> Any:
        """Analyse as the backend does."""
        return self._clocked("analysis", self._backend.analyse, *arguments)

    def synthesise(self, *arguments: Any) -> Any:
        """Synthesise as the backend does."""
        return self._clocked("synthesis", self._backend.synthesise, *arguments)

    def _clocked(self, phase: str, work: Callable[..., T], *arguments: Any) -> T:
        start = time.perf_counter()
        result = work(*arguments)
        self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - start
        return result
