"""What the evaluation asks of a codec, and promptcodec seen that way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from promptcodec.codec.container import unpack
from promptcodec.errors import UsageError
from promptcodec.evaluate.metrics import Pixels

if TYPE_CHECKING:
    from promptcodec.codec.search import Target

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
    whole_settings = False

    def __init__(self, model: str | None = None) -> None:
        """``model``: name or path, None for the default. Raises ModelMismatchError where there is none."""
        import promptcodec
        from promptcodec.evaluate.timed import TimedCodec

        self._codec = TimedCodec(promptcodec.load(model))
        self.name = f"{OURS}:{self._codec.name}"
        self.options = {"fingerprint": self._codec.fingerprint}
        self.version = f"promptcodec {promptcodec.__version__}"

    def check(self, quality: float) -> None:
        if not 0 <= quality <= 100:
            raise UsageError(f"{self.name} takes a quality from 0 to 100, not {quality:g}")

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        from PIL import Image

        start = self._codec.begin()
        data = self._codec.encode(Image.fromarray(rgb), quality=quality)
        self._codec.end("encode latents and file", start)
        return data

    def setting_for(self, rgb: Pixels, target: Target) -> float:
        """The quality at which ``encode`` hits the target. Raises TargetError where there is none."""
        from PIL import Image

        from promptcodec.codec.codec import Q_STEPS

        return 100 * unpack(self._codec.encode(Image.fromarray(rgb), target=target)).header.q / Q_STEPS

    def decode(self, data: bytes) -> Pixels:
        start = self._codec.begin()
        pixels = np.asarray(self._codec.decode(data).convert("RGB"))
        self._codec.end("decode file and latents", start)
        return pixels

    @property
    def phases(self) -> dict[str, float]:
        return self._codec.phases


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
    classical = peers()
    if ours == OURS:
        codec: EvaluatedCodec = OurCodec(model or None)
    elif name in classical:
        codec = classical[name]()
    else:
        raise UsageError(f"there is no codec {name!r} (known: {', '.join([OURS, f'{OURS}:MODEL', *classical])})")
    codec.spec = name
    return codec
