"""Train steering: an adapter on a frozen base, or base and adapter together."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.model.base import CompressionModel
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import base_fingerprint
from promptcodec.train.data.control_sampler import ControlSampler
from promptcodec.train.data.training_data import TrainingData
from promptcodec.train.start import start_afresh
from promptcodec.train.steered import Steered, SteeredObjective
from promptcodec.train.task import BatchPart, FirstCrops, Weights
from promptcodec.train.validation import Rows
from promptcodec.train.validation_steered import validate_steered

BALANCE_CROPS = 32


class SteeringTask:
    """An adapter, its base with it where they are trained jointly, and the controls that are drawn for them.

    ``start``: where the base came from, empty for a new one, which may begin with a ``linear_start``.
    """

    def __init__(
        self, objective: SteeredObjective, controls: ControlSampler, start: str = "", linear_start: bool = False
    ) -> None:
        self.objective, self.controls = objective, controls
        self._start, self._linear_start = start, linear_start

    @property
    def trained(self) -> Steered:
        """The adapter, with the base if that learns too."""
        return self.objective.steered

    @property
    def model(self) -> CompressionModel:
        """The base."""
        return self.trained.network

    @cached_property
    def base_fingerprint(self) -> str:
        """Identifies a frozen base; empty where the base is trained."""
        return "" if hasattr(self.trained, "base") else base_fingerprint(self.model)

    def begin(self, first_crops: FirstCrops) -> str:
        """Set the weights that a new run begins with; returns what they are, for people."""
        source = self._start or start_afresh(self.model, self._linear_start, first_crops)
        if self.trained.balance is not None:
            self.objective.measure_balance(first_crops(BALANCE_CROPS))
        return source

    def inputs(self, place: BatchPart, data: TrainingData) -> tuple[Any, ...]:
        """Draw controls for one part of a batch, and choose co-adapters: each takes part in half of the steps."""
        draws = np.random.default_rng([self.controls.seed, place.step, 4]).random(len(self.objective.co_adapters))
        device = next(self.model.parameters()).device
        wants_objects = self.controls.maps and self.controls.random
        objects = data.objects(place.step, place.batch, place.part, place.parts) if wants_objects else ()
        controls = self.controls.part(place.step, place.part, place.parts, device, objects)
        return controls, np.flatnonzero(draws < 0.5).tolist()

    def notes(self) -> dict[str, Any]:
        """Return the recogniser, by its name or that of its weight file and by a fingerprint of its weights, and what
        its features count, where it has a part in the loss.
        """
        recogniser, balance = self.objective.terms.recogniser, self.trained.balance
        if balance is None or recogniser is None:
            return {}
        return {"recogniser": recogniser.name, "weights": recogniser.weights} | balance.described()

    def networks(self, weights: Weights) -> tuple[CompressionModel, Adapter | None]:
        """Make copies with ``weights`` in evaluation mode: the base, and the adapter if there is one."""
        steered = self._with(weights)
        return steered.network, steered.adapter

    def validate(self, weights: Weights, pictures: Sequence[NDArray[np.uint8]]) -> Rows:
        """Measure rate and quality with ``weights`` on pictures (H, W, 3)."""
        return validate_steered(self._with(weights), self.objective.fixed_q, pictures)

    def _with(self, weights: Weights) -> Steered:
        steered = copy.deepcopy(self.trained)
        steered.load_state_dict(weights)
        return steered.eval()
