"""What a codec asks of the networks of a model: the seam to PyTorch, or to another runtime. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.tables import FrequencyTables
from promptcodec.model.arrays import Analysis, Float64s, Floats, Gains, MeanSteps, Steps
from promptcodec.model.config import Model
from promptcodec.model.effort import Effort

# What steers a call, attached by an adapter library that knows the runtime (see ``codec.adapters``); None: nothing.
Attached = Any


class HyperNetworks(Protocol):
    """What z decides: the same integers on every machine, so float64, on whatever hardware gives it."""

    @property
    def config(self) -> Model:
        """The model's."""

    @property
    def tables(self) -> FrequencyTables:
        """Of z, one a channel."""

    @property
    def medians(self) -> Float64s:
        """Of z, (1, N, 1, 1): symbols are z less them, rounded."""

    def gains(self, q: float, attached: Attached = None) -> Gains:
        """At q in [0, 1], those of adapters included."""

    def schedule(self, z_symbols: NDArray[np.int32], q: float, attached: Attached = None) -> Steps:
        """Return the steps in which y is coded, given the integers of z (1, N, h/64, w/64).

        The generator is sent the gained latent decoded so far, one array (1, M, h/16, w/16) that is filled as the steps
        go. Not for models with contextual means.
        """

    def log_scales(self, z_symbols: NDArray[np.int32], q: float, attached: Attached = None) -> Float64s:
        """log σ of the gained y (1, M, h/16, w/16), of models with contextual means."""


class Backend(Protocol):
    """One model, ready to run."""

    @property
    def name(self) -> str:
        """Of the model."""

    @property
    def probability(self) -> bytes:
        """Fingerprint of what must match to decode."""

    @property
    def pixels(self) -> bytes:
        """Fingerprint of what decides the pixels."""

    @property
    def hyper(self) -> HyperNetworks:
        """What z decides."""

    def default_settings(self) -> AbstractContextManager[Any]:
        """Return a context in which nothing that the program around has set reaches a file."""

    def analyse(
        self, rgb: NDArray[np.uint8], q: float, attached: Attached, effort: Effort, report: Callable[[], None]
    ) -> Analysis:
        """Latents of pixels (H, W, 3). ``report`` is called ``effort.steps`` times."""

    def analyse_batch(self, pictures: NDArray[np.uint8]) -> list[Analysis]:
        """Latents of pictures (B, H, W, 3), steered by nothing, in one pass, whose sums may have another order."""

    def means(
        self, z_symbols: NDArray[np.int32], log_sigma: Float64s, q: float, attached: Attached = None
    ) -> MeanSteps:
        """Steps in which contextual means are made; the generator is sent the gained latent so far, float32."""

    def synthesise(self, y: Floats, z: Floats, attached: Attached, height: int, width: int) -> NDArray[np.uint8]:
        """Pixels (height, width, 3) of ŷ (1, M, h/16, w/16) and ẑ (1, N, h/64, w/64) without gains, float32."""
