"""What a run learns: a protocol that models and adapters fulfil, and a model's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from promptcodec.model.base import CompressionModel, channels_last
from promptcodec.steer.adapter import Adapter
from promptcodec.train.data.training_data import TrainingData
from promptcodec.train.losses.objective import Objective
from promptcodec.train.start import start_afresh, start_from
from promptcodec.train.validation import Rows, validate

Weights = Mapping[str, Tensor]
FirstCrops = Callable[[int], Tensor]


@dataclass(frozen=True)
class BatchPart:
    """One of ``parts`` equal parts of the batch of a ``step``."""

    step: int
    batch: int
    part: int = 0
    parts: int = 1


class Task(Protocol):
    """Networks that learn, and the loss that they learn by."""

    @property
    def model(self) -> CompressionModel:
        """The network that codes, which may be frozen."""

    @property
    def trained(self) -> nn.Module:
        """What the optimiser, the moving average and checkpoints hold."""

    @property
    def objective(self) -> nn.Module:
        """Takes x (B, 3, H, W), the rates q (B,), and what ``inputs`` gives; returns loss and sums for ``Meter``."""

    @property
    def base_fingerprint(self) -> str:
        """Identifies a frozen base; empty where there is none."""

    def begin(self, first_crops: FirstCrops) -> str:
        """Set the weights that a new run begins with; returns what they are, for people."""

    def inputs(self, place: BatchPart, data: TrainingData) -> tuple[Any, ...]:
        """Draw what the objective takes besides pictures and rates."""

    def notes(self) -> dict[str, Any]:
        """Return what is stored with an adapter about the loss that it learned by, as values for JSON."""

    def networks(self, weights: Weights) -> tuple[CompressionModel, Adapter | None]:
        """Make copies with ``weights``, those of ``trained``, in evaluation mode: the model, and the adapter if any."""

    def validate(self, weights: Weights, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
        """Measure rate and quality with ``weights`` on pictures (H, W, 3)."""


class ModelTask:
    """A model without steering.

    ``start``: a model file or shipped model to begin with, whose rate is ``start_lambda`` where it has one rate and
    ``model`` has several; else ``linear_start``, or chance.
    """

    base_fingerprint = ""

    def __init__(
        self,
        model: CompressionModel,
        objective: Objective,
        start: str = "",
        start_lambda: float = 0.0,
        linear_start: bool = False,
    ) -> None:
        self.model, self.objective = model, objective
        self._start, self._start_lambda, self._linear_start = start, start_lambda, linear_start

    @property
    def trained(self) -> CompressionModel:
        """The model."""
        return self.model

    def begin(self, first_crops: FirstCrops) -> str:
        """Set the weights that a new run begins with; returns what they are, for people."""
        if not self._start:
            return start_afresh(self.model, self._linear_start, first_crops)
        start_from(self.model, self._start, self._start_lambda, first_crops)
        return self._start

    def inputs(self, place: BatchPart, data: TrainingData) -> tuple[Any, ...]:
        """Draw nothing: there are no controls."""
        return ()

    def notes(self) -> dict[str, Any]:
        """Return nothing: there is no adapter."""
        return {}

    def networks(self, weights: Weights) -> tuple[CompressionModel, None]:
        """Make a copy with ``weights`` in evaluation mode."""
        model = channels_last(CompressionModel(self.model.config).to(next(self.model.parameters()).device))
        model.load_state_dict(weights)
        return model.eval(), None

    def validate(self, weights: Weights, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
        """Measure rate and quality with ``weights`` on pictures (H, W, 3)."""
        return validate(self.networks(weights)[0], pictures)
