"""Adapters attached to a model, in order, with what was asked for: what a forward pass or a codec is steered by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.layers.transforms import full_precision
from promptcodec.model.steering import Decoded, Gains, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.sites import check_steering


class Attached:
    """A ``Steerer``: ordered composition of what each adapter makes of ``controls``.

    ``signalled``: what each adapter reads back from the file, in their order; None (in training) gives every adapter
    the controls as they are. Raises UsageError for adapters that were built for another configuration.
    """

    def __init__(
        self,
        base: config.Model,
        adapters: Sequence[Adapter],
        controls: Controls | None = None,
        signalled: Sequence[Controls] | None = None,
    ) -> None:
        for adapter in adapters:
            if adapter.base != base:
                raise UsageError(
                    f"adapter {adapter.name} was built for {adapter.base.name}, this is {base.name} of another "
                    "configuration; build or train it for this model"
                )
        self.base, self.adapters = base, tuple(adapters)
        self.controls = (controls or Controls()).padded()
        self.signalled = tuple(signalled) if signalled is not None else (self.controls,) * len(self.adapters)

    def for_encoder(self, x: Tensor) -> Steering:
        """Return the sites in g_a and h_a, gains and masks, from the padded picture (B, 3, h, w) in [0, 1]."""
        parts = [
            adapter.for_encoder(x, self.controls.replaced(stated.scalars))
            for adapter, stated in zip(self.adapters, self.signalled, strict=True)
        ]
        with full_precision(x.device):  # gains decide probabilities, which are never computed in bfloat16
            return self._composed(parts).then(Steering(gains=self.gains()))

    def for_hyper(self, y: Tensor) -> Steering:
        """Return further sites in h_a, and masks, from y (B, M, h/16, w/16) before gains."""
        return self._composed(
            [
                a.for_hyper(y, self.controls.replaced(stated.scalars))
                for a, stated in zip(self.adapters, self.signalled, strict=True)
            ]
        )

    def gains(self) -> Gains:
        """Return the product of all gains."""
        parts = [adapter.gains(stated) for adapter, stated in zip(self.adapters, self.signalled, strict=True)]
        return reduce(Gains.times, parts, Gains())

    def for_entropy(self, decoded: Decoded) -> Steering:
        """Return the sites in h_s, from ẑ."""
        return self._composed(
            [a.for_entropy(decoded, stated) for a, stated in zip(self.adapters, self.signalled, strict=True)]
        )

    def for_decoder(self, decoded: Decoded) -> Steering:
        """Return the sites in g_s, from ẑ and ŷ."""
        return self._composed(
            [a.for_decoder(decoded, stated) for a, stated in zip(self.adapters, self.signalled, strict=True)]
        )

    def importance(self) -> Tensor | None:
        """Return the product of what the adapters say; None where none says anything."""
        parts = [adapter.importance(stated) for adapter, stated in zip(self.adapters, self.signalled, strict=True)]
        planes = [part for part in parts if part is not None]
        return reduce(Tensor.mul, planes) if planes else None

    def _composed(self, parts: Sequence[Steering]) -> Steering:
        steering = reduce(Steering.then, parts, Steering())
        check_steering(self.base, steering)
        return steering
