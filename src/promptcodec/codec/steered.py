"""What a codec wants of the adapters that steer one file; ``promptcodec.steer.files`` has the implementation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from promptcodec.bitstream.records import AdapterRecord
from promptcodec.bitstream.tiling import Rect
from promptcodec.model.inference.exact_hyper import LatentSteering
from promptcodec.model.steering import Steerer, Steering


class Steered(Steerer, Protocol):
    """Adapters attached for one picture, on the codec's device."""

    @property
    def records(self) -> tuple[AdapterRecord, ...]:
        """Those that a decoder needs, with what they signal."""

    def within(self, part: Rect) -> Steered:
        """The same for a part of the picture: what was asked for pixel by pixel is cut out."""

    def latents(self, encoder: Steering | None = None) -> LatentSteering:
        """The part that decides what is coded; masks are taken from the encoder's steering."""


Opener = Callable[[tuple[AdapterRecord, ...]], Steered]  # attaches the adapters that a file names
