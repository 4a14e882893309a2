"""Adapters attached to a model, in order, with what was asked for: what a forward pass or a codec is steered by."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import reduce

from torch import Tensor

from promptcodec.bitstream.contents import AdapterRecord
from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import FormatError, UsageError
from promptcodec.model import config
from promptcodec.model.config import LATENTS_A_SIDE, STRIDE
from promptcodec.model.inference.exact_hyper import LatentSteering
from promptcodec.model.layers.transforms import full_precision
from promptcodec.model.steering import Decoded, Gains, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter
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
            return self._composed([*parts, Steering(gains=self.gains())])

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
        return reduce(Gains.times, parts) if parts else Gains()

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
        if steering.sites:
            check_steering(self.base, steering)
        return steering


class FileAdapters(Attached):
    """The adapters of one file with what they signal: what ``codec.adapters.AttachedAdapters`` asks for, and a
    ``TorchBackend``.

    Without ``controls``, a decoder's.
    """

    def __init__(
        self,
        base: config.Model,
        stored: Sequence[StoredAdapter],
        records: tuple[AdapterRecord, ...],
        signalled: Sequence[Controls],
        controls: Controls | None,
    ) -> None:
        """``signalled``: what each adapter reads in the file; ``of`` makes it."""
        super().__init__(base, [s.adapter for s in stored], controls, signalled)
        self.records, self._stored, self._unpadded = records, stored, controls
        self._exact = Attached(base, [s.exact for s in stored], None, signalled)

    @staticmethod
    def of(
        base: config.Model,
        stored: Sequence[StoredAdapter],
        signals: Sequence[bytes],
        controls: Controls | None = None,
    ) -> FileAdapters:
        """``signals``: bytes of each adapter. Raises FormatError for those that it cannot read."""
        pairs = list(zip(stored, signals, strict=True))
        records = tuple(
            AdapterRecord(s.adapter.name, s.fingerprint, signal) for s, signal in pairs if s.adapter.decodes
        )
        signalled = [stored.adapter.read(signal) for stored, signal in pairs]
        return FileAdapters(base, stored, records, signalled, controls)

    @property
    def analysis_key(self) -> Hashable:
        """The adapters with an encoder half, in their order, and all that such a half is given: scalars and maps."""
        acting = tuple(stored.adapter for stored in self._stored if stored.adapter.encodes)
        if not acting or self._unpadded is None:
            return ()
        controls = (*self._unpadded.scalars.items(), *self._unpadded.maps.items())
        return acting, tuple(sorted((name, _digest(value)) for name, value in controls))

    def within(self, part: Rect) -> FileAdapters:
        """Return the same for a part of the picture. Raises FormatError where a map of the file ends before it."""
        controls = self._unpadded.within(part.rows, part.columns) if self._unpadded is not None else None
        signalled = [
            replace(signal, maps={name: _places(plane, part, stored.name) for name, plane in signal.maps.items()})
            for signal, stored in zip(self.signalled, self._stored, strict=True)
        ]
        return FileAdapters(self.base, self._stored, self.records, signalled, controls)

    def latents(self) -> LatentSteering:
        """Return what decides the coding, float64 on the CPU, and what decides its means."""
        return LatentSteering(self._exact.gains(), self._exact.for_entropy, self.for_entropy)


def _digest(values: Tensor) -> bytes:
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).digest()


def _places(plane: Tensor, part: Rect, name: str) -> Tensor:
    """Return what of a map with a value for every place of y lies in a part of the picture."""
    blocks, count = part.over(STRIDE), LATENTS_A_SIDE
    if blocks.bottom * count > plane.shape[2] or blocks.right * count > plane.shape[3]:
        raise FormatError(f"the map of adapter {name} is smaller than the picture: the file is damaged")
    rows = slice(blocks.top * count, blocks.bottom * count)
    return plane[:, :, rows, blocks.left * count : blocks.right * count].clone()  # a view would keep all of it
