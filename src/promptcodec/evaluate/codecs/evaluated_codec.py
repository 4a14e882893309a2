"""What the evaluation asks of a codec."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.quality.pixels import Pixels

OURS = "promptcodec"


def curve_key(name: str, options: dict[str, Any]) -> str:
    """Identify a rate-distortion curve: the codec with all that changes its files, except the setting."""
    return f"{name} {json.dumps(options, sort_keys=True)}"


class EvaluatedCodec(ABC):
    """A codec under test.

    ``name``: as the user writes it; ``options``: all that changes its files except the setting (JSON values);
    ``version``: of the library; ``settings``: the ladder measured by default; ``extremes``: the settings of the
    smallest and of the largest file; ``quality_scale``: whether a setting is a quality from 0 to 100 and not something
    else; ``whole_settings``: whether it is a whole number; ``in_process``: whether its memory is this process's;
    ``phases``: seconds of the parts of the last ``encode`` or ``decode``, where the codec tells; ``spec``: what
    ``open_codec`` opens it by.
    """

    name: str
    options: dict[str, Any]
    version: str
    settings: tuple[float, ...]
    extremes: tuple[float, float] = (0, 100)
    quality_scale: bool = True
    whole_settings: bool = True
    in_process: bool = True
    spec: str = ""

    @property
    def parameters(self) -> dict[str, int]:
        """How many parameters its networks have, by network; none of a codec without networks."""
        return {}

    @property
    def phases(self) -> dict[str, float]:
        return {}

    def key(self, quality: float) -> str:
        """Identify the codec at this setting; equal keys mean equal files for equal pictures."""
        return f"{curve_key(self.name, self.options)} @ {quality:g}"

    def use_mask(self, mask: NDArray[np.uint8] | None) -> None:  # noqa: B027 - most codecs have no use for it
        """Note what matters in the next picture, uint8 (H, W), for codecs that can use it; None: nothing is known."""

    @abstractmethod
    def check(self, quality: float) -> None:
        """Check a setting. Raises UsageError for one that the codec does not have."""

    @abstractmethod
    def encode(self, rgb: Pixels, quality: float) -> bytes:
        """Return the complete file for a uint8 (H, W, 3) picture."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """Return the uint8 (H, W, 3) picture of a file that ``encode`` returned."""
