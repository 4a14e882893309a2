"""What the package asks of a recogniser: features for a loss, predictions for a score."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptcodec.quality.pixels import Pixels

Task = Literal["classify", "detect", "read"]


@dataclass(frozen=True)
class Classes:
    """A classifier's answer: the most likely classes, the best first (five or more), and their probabilities."""

    ranking: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Objects:
    """A detector's answer, the surest first: (n, 4) corners x0, y0, x1, y1 in pixels, (n,) scores in [0, 1], and (n,)
    categories, as the annotations number them.

    ``masks``: one boolean (H, W) an object, of a network that segments.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    categories: NDArray[np.int64]
    masks: Sequence[NDArray[np.bool_]] = field(default=())

    def scaled(self, x: float, y: float) -> Objects:
        """Return the boxes in a picture that is so many times as wide and high; masks stay as they are."""
        factors = np.array([x, y, x, y], np.float32)
        return Objects(self.boxes * factors, self.scores, self.categories, self.masks)


@dataclass(frozen=True)
class Words:
    """A reader's answer: the text of each line."""

    lines: tuple[str, ...]


Prediction = Classes | Objects | Words


class Recogniser(nn.Module, ABC):
    """A frozen network for one ``task``.

    Subclasses need no arguments to be opened by the command line, and set ``task``; ``name`` and ``weights``, which
    tell results of different networks apart, are set by whoever opens it. Always in evaluation mode.
    """

    task: Task
    name: str = ""
    weights: str = ""

    @abstractmethod
    def prepare(self, pixels: Pixels) -> Pixels:
        """Bring a picture, uint8 (H, W, 3), to the size that the network looks at: what ``predict`` is given."""

    @abstractmethod
    def features(self, x: Tensor) -> list[Tensor]:
        """Compute levels of features (B, C, h, w) of x (B, 3, H, W) in [0, 1], of any size: what losses compare.

        Raises UsageError where the network has no gradients.
        """

    @abstractmethod
    def predict(self, x: Tensor) -> Prediction:
        """Recognise what is in one picture, (1, 3, H, W) in [0, 1], boxes in its pixels."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute ``features``."""
        return self.features(x)

    def train(self, mode: bool = True) -> Recogniser:
        """Stay in evaluation mode: a recogniser never learns."""
        return super().train(False)  # type: ignore[return-value]

    @property
    def channels(self) -> list[int]:
        """How many features each level has."""
        if not hasattr(self, "_channels"):
            with torch.no_grad():
                self._channels = [level.shape[1] for level in self.features(self._probe())]
        return self._channels

    def _probe(self) -> Tensor:
        tensor: Any = next(itertools.chain(self.parameters(), self.buffers()), torch.zeros(()))
        return torch.zeros(1, 3, 64, 64, device=tensor.device)
