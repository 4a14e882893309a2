"""What a codec wants of the adapters that steer one file; ``promptcodec.steer.files`` has the implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from promptcodec.codec.container import AdapterRecord
from promptcodec.codec.latents import LatentSteering
from promptcodec.model.steering import Steerer, Steering


class Steered(Steerer, Protocol):
    """Adapters attached for one picture, on the codec's device."""

    @property
    def records(self) -> tuple[AdapterRecord, ...]:
        """Those that a decoder needs, with what they signal."""

    def latents(self, encoder: Steering | None = None) -> LatentSteering:
        """The part that decides what is coded; masks are taken from the encoder's steering."""


Opener = Callable[[tuple[AdapterRecord, ...]], Steered]  # attaches the adapters that a file names
