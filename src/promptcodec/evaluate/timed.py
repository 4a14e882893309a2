"""Our codec with a clock on its phases."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from promptcodec.codec.codec import Codec, Refine

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from promptcodec.codec.steered import Steered
    from promptcodec.model.steering import Steerer, Steering


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

    def _analyse(
        self, rgb: np.ndarray, steerer: Steerer, refine: Refine | None = None, q: float = 0.0
    ) -> tuple[Tensor, Tensor, Steering]:
        start = time.perf_counter()
        latents = super()._analyse(rgb, steerer, refine, q)
        self.phases["analysis"] = self.phases.get("analysis", 0.0) + time.perf_counter() - start
        return latents

    def _synthesise(
        self, y: Tensor, height: int, width: int, steered: Steered | None = None, z_hat: Tensor | None = None
    ) -> np.ndarray:
        start = time.perf_counter()
        pixels = super()._synthesise(y, height, width, steered, z_hat)
        self.phases["synthesis"] = self.phases.get("synthesis", 0.0) + time.perf_counter() - start
        return pixels
