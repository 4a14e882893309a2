"""The reader of PP-OCRv4 as rapidocr-onnxruntime packs it (Apache-2.0): it runs in ONNX, so it can
measure, but nothing can be trained for it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.quality.pixels import Pixels
from promptcodec.system.extras import import_extra
from promptcodec.tasks.recogniser import Recogniser, Words

BAND = 48  # rows of a picture that hold one word: the height that the network looks at


class RapidOcr(Recogniser):
    """Reads one word in every band of 48 rows, from the top: pictures as ``eval --task read`` makes them of photos.

    Raises UsageError where the package is missing.
    """

    task = "read"

    def __init__(self) -> None:
        super().__init__()
        package = import_extra("rapidocr_onnxruntime", "rapidocr-onnxruntime", "text")
        (model,) = Path(package.__file__).parent.glob("models/*_rec_*.onnx")
        self.weights = hashlib.sha256(model.read_bytes()).hexdigest()[:16]
        self._reader: Any = package.RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Leave a picture as it is."""
        return pixels

    def features(self, x: Tensor) -> list[Tensor]:
        """Raise UsageError: there are no gradients."""
        raise UsageError("rapidocr runs in ONNX and has no gradients: it can measure, nothing can be trained for it")

    @torch.no_grad()
    def predict(self, x: Tensor) -> Words:
        """Read the word of each band of x (1, 3, H, W) in [0, 1]; an empty line where there is none."""
        pixels = np.rint(255 * x[0].permute(1, 2, 0).numpy()).astype(np.uint8)
        lines = []
        for top in range(0, pixels.shape[0] - BAND + 1, BAND):
            band = np.ascontiguousarray(pixels[top : top + BAND, :, ::-1])  # blue comes first
            answer, _ = self._reader(band, use_det=False, use_cls=False, use_rec=True)
            lines.append(str(answer[0][0]) if answer else "")
        return Words(tuple(lines))
