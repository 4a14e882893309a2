"""Rows of ``eval --task``: what one recogniser saw in one picture after one codec at one setting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from PIL import Image

from promptcodec.evaluate.codecs.evaluated_codec import curve_key
from promptcodec.system.extras import import_extra
from promptcodec.tasks.recogniser import Classes, Objects, Prediction, Task, Words

CodedSize = Literal["input", "native"]
"""What a codec is given: the picture at the size that the recogniser looks at, or as it is."""

ORIGINAL = "original"
"""The codec of rows of pictures that were not coded."""


@dataclass(frozen=True)
class TaskRow:
    """One picture through one codec at one setting, and what a recogniser saw in it.

    ``width``, ``height``, ``bpp``: of what was coded, at ``coded_size``. ``weights``: fingerprint of the recogniser's.
    ``prediction``: as ``to_json`` writes it, boxes in pixels of the original picture. ``truth``: what the labels say,
    in rows of the codec "original" alone; None where there are none.
    """

    codec: str
    options: dict[str, Any]
    version: str
    picture: str
    sha256: str
    width: int
    height: int
    setting: float
    bytes: int
    bpp: float
    psnr: float | None
    encode_s: float
    decode_s: float
    task: Task
    recogniser: str
    weights: str
    coded_size: CodedSize
    prediction: dict[str, Any] = field(default_factory=dict)
    truth: dict[str, Any] | None = None

    @property
    def curve(self) -> str:
        """Key of the curve that this row is a point of."""
        return curve_key(self.codec, self.options)

    @property
    def viewer(self) -> tuple[str, str, CodedSize]:
        """Who looked at what: rows that differ in it do not compare."""
        return self.recogniser, self.weights, self.coded_size

    @property
    def key(self) -> tuple[str, str]:
        """What was measured: (codec at its setting, and the viewer; picture)."""
        return f"{self.curve} @ {self.setting:g}, {' '.join(self.viewer)}", self.sha256


def to_json(prediction: Prediction, width: int, height: int) -> dict[str, Any]:
    """Write a prediction as JSON values; masks are scaled to ``width`` and ``height``, and run-length coded."""
    match prediction:
        case Classes(ranking, probabilities):
            return {"ranking": list(ranking), "probabilities": [round(p, 5) for p in probabilities]}
        case Words(lines):
            return {"lines": list(lines)}
        case Objects():
            values = {
                "boxes": [[round(float(v), 2) for v in box] for box in prediction.boxes],
                "scores": [round(float(score), 5) for score in prediction.scores],
                "categories": [int(category) for category in prediction.categories],
            }
            if len(prediction.masks):
                values["masks"] = [_run_lengths(mask, width, height) for mask in prediction.masks]
            return values


def _run_lengths(mask: Any, width: int, height: int) -> dict[str, Any]:
    scaled = np.asarray(Image.fromarray(np.asarray(mask, np.uint8) * 255).resize((width, height))) > 127
    coded = import_extra("pycocotools.mask", "pycocotools", "tasks").encode(np.asfortranarray(scaled.astype(np.uint8)))
    return {"size": [height, width], "counts": coded["counts"].decode("ascii")}
