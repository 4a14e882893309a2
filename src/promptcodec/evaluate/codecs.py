"""What the evaluation asks of a codec, and promptcodec seen that way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from promptcodec.errors import UsageError
from promptcodec.evaluate.metrics import Pixels

OURS = "promptcodec"


def curve_key(name: str, options: dict[str, Any]) -> str:
    """Identifies a rate-distortion curve: the codec with all that changes its files, except the setting."""
    return f"{name} {json.dumps(options, sort_keys=True)}"


class EvaluatedCodec(ABC):
    """A codec under test.

    ``name``: as the user writes it; ``options``: all that changes its files except the setting (JSON values);
    ``version``: of the library; ``settings``: the ladder measured by default; ``quality_scale``: whether a setting
    is a quality from 0 to 100 and not something else.
    """

    name: str
    options: dict[str, Any]
    version: str
    settings: tuple[float, ...]
    quality_scale: bool = True

    def key(self, quality: float) -> str:
        """Identifies the codec at this setting; equal keys mean equal files for equal pictures."""
        return f"{curve_key(self.name, self.options)} @ {quality:g}"

    @abstractmethod
    def check(self, quality: float) -> None:
        """Raises UsageError for a setting that the codec does not have."""

    @abstractmethod
    def encode(self, rgb: Pixels, quality: float) -> bytes:
        """The complete file for a uint8 (H, W, 3) picture."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """The uint8 (H, W, 3) picture of a file that ``encode`` returned."""


class OurCodec(EvaluatedCodec):
    """promptcodec with one model, on the CPU."""

    settings = (0.0, 10, 25, 40, 55, 70, 85, 100)

    def __init__(self, model: str | None = None) -> None:
        """``model``: name or path, None for the default. Raises ModelMismatchError where there is none."""
        import promptcodec

        self._codec = promptcodec.load(model)
        self.name = f"{OURS}:{self._codec.name}"
        self.options = {"fingerprint": self._codec.fingerprint}
        self.version = f"promptcodec {promptcodec.__version__}"

    def check(self, quality: float) -> None:
        if not 0 <= quality <= 100:
            raise UsageError(f"{self.name} takes a quality from 0 to 100, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        from PIL import Image

        data: bytes = self._codec.encode(Image.fromarray(rgb), quality=quality)
        return data

    def decode(self, data: bytes) -> Pixels:
        return np.asarray(self._codec.decode(data).convert("RGB"))


def peers() -> dict[str, Callable[[], EvaluatedCodec]]:
    """What opens each classical codec, by name; UsageError where its library is missing."""
    from promptcodec.evaluate.anchors import ANCHORS, Anchor
    from promptcodec.evaluate.heic import PARAMETERS, Heic
    from promptcodec.evaluate.jpegxl import JpegXl
    from promptcodec.evaluate.vvc import Vvc

    by_pillow = {name: partial(Anchor, name) for name in ANCHORS}
    by_libheif = {name: partial(Heic, name) for name in PARAMETERS}
    return {**by_pillow, JpegXl.name: JpegXl, **by_libheif, Vvc.name: Vvc}


def open_codec(name: str) -> EvaluatedCodec:
    """``promptcodec``, ``promptcodec:MODEL`` (name or path) or a classical codec by name. Raises UsageError."""
    ours, _, model = name.partition(":")
    if ours == OURS:
        return OurCodec(model or None)
    classical = peers()
    if name not in classical:
        raise UsageError(f"there is no codec {name!r} (known: {', '.join([OURS, f'{OURS}:MODEL', *classical])})")
    return classical[name]()
