"""8-bit pictures on their way into frozen networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from promptcodec.quality.pixels import Pixels


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert a uint8 (H, W, 3) picture to (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


class CachedFeatures:
    """A function of a picture that remembers its last value: an original is compared with many decoded pictures."""

    def __init__(self, features: Callable[[Pixels], list[Tensor]]) -> None:
        self._features = features
        self._last: tuple[Pixels, list[Tensor]] | None = None

    def __call__(self, pixels: Pixels) -> list[Tensor]:
        if self._last is None or not np.array_equal(self._last[0], pixels):
            self._last = pixels.copy(), self._features(pixels)
        return self._last[1]
