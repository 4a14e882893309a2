"""Our codec with a clock on its phases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from promptcodec.codec.codec import Codec

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from promptcodec.model.steering import Steering

T = TypeVar("T")


class TimedCodec(Codec):
    """A codec that adds up the wall-clock seconds of its networks and of its entropy coder in ``phases``."""

    def __init__(self, codec: Codec) -> None:
        """As ``codec``, with the same weights."""
        self.__dict__.update(codec.__dict__)
        self.phases: dict[str, float] = {}

    def begin(self) -> float:
        """Start over, and the clock."""
        self.phases = {}
        return time.perf_counter()

    def end(self, side: str, start: float) -> None:
        """What no phase has taken since ``start`` becomes a phase of its own: entropy coding, files and copies."""
        self.phases[side] = time.perf_counter() - start - sum(self.phases.values())

    def _analyse(self, *given: Any, **options: Any) -> tuple[Tensor, Tensor, Steering]:
        return self._clocked("analysis", super()._analyse, *given, **options)

    def _synthesise(self, *given: Any, **options: Any) -> np.ndarray:
        return self._clocked("synthesis", super()._synthesise, *given, **options)

    def _clocked(self, phase: str, work: Callable[..., T], *given: Any, **options: Any) -> T:
        start = time.perf_counter()
        result = work(*given, **options)
        self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - start
        return result
