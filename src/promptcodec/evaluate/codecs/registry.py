"""What the evaluation asks of a codec, and which codecs there are."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import UsageError
from promptcodec.evaluate.quality.metrics import Pixels

OURS = "promptcodec"


def curve_key(name: str, options: dict[str, Any]) -> str:
    """Identifies a rate-distortion curve: the codec with all that changes its files, except the setting."""
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
    def phases(self) -> dict[str, float]:
        return {}

    def key(self, quality: float) -> str:
        """Identifies the codec at this setting; equal keys mean equal files for equal pictures."""
        return f"{curve_key(self.name, self.options)} @ {quality:g}"

    def use_mask(self, mask: NDArray[np.uint8] | None) -> None:  # noqa: B027 - most codecs have no use for it
        """What matters in the next picture, uint8 (H, W), for codecs that can use it; None: nothing is known."""

    @abstractmethod
    def check(self, quality: float) -> None:
        """Raises UsageError for a setting that the codec does not have."""

    @abstractmethod
    def encode(self, rgb: Pixels, quality: float) -> bytes:
        """The complete file for a uint8 (H, W, 3) picture."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """The uint8 (H, W, 3) picture of a file that ``encode`` returned."""


def peers() -> dict[str, Callable[[], EvaluatedCodec]]:
    """What opens each classical codec, by name; UsageError where its library is missing."""
    from promptcodec.evaluate.codecs.heic import PARAMETERS, Heic
    from promptcodec.evaluate.codecs.jpegxl import JpegXl
    from promptcodec.evaluate.codecs.pillow import ANCHORS, Anchor
    from promptcodec.evaluate.codecs.vvc import Vvc

    by_pillow = {name: partial(Anchor, name) for name in ANCHORS}
    by_libheif = {name: partial(Heic, name) for name in PARAMETERS}
    return {**by_pillow, JpegXl.name: JpegXl, **by_libheif, Vvc.name: Vvc}


def open_codec(name: str) -> EvaluatedCodec:
    """``promptcodec``, ``promptcodec:MODEL+ADAPTER@NAME=VALUE`` (see ``ours``), or a classical codec by name.

    Raises UsageError.
    """
    from promptcodec.evaluate.codecs.ours import open_ours

    classical = peers()
    if re.match(rf"{OURS}([:+@]|$)", name):
        codec: EvaluatedCodec = open_ours(name)
    elif name in classical:
        codec = classical[name]()
    else:
        raise UsageError(
            f"there is no codec {name!r} (known: {', '.join([OURS, f'{OURS}:MODEL+ADAPTER@look=1', *classical])})"
        )
    codec.spec = name
    return codec
