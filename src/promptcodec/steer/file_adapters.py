"""The adapters of one file with what they signal, attached to a codec."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import replace

from torch import Tensor

from promptcodec.bitstream.records import AdapterRecord
from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import FormatError
from promptcodec.model import config
from promptcodec.model.config import LATENTS_A_SIDE, STRIDE
from promptcodec.model.inference.exact_hyper import LatentSteering
from promptcodec.model.steering import Decoded, Steering
from promptcodec.steer.adapter_file import StoredAdapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls


class FileAdapters:
    """The adapters of one file with what they signal: what ``codec.adapters.AttachedAdapters`` asks for, and a
    ``TorchBackend``.

    Without ``controls``, a decoder's.
    """

    def __init__(
        self,
        base: config.Model,
        adapters: Sequence[StoredAdapter],
        records: tuple[AdapterRecord, ...],
        signalled: Sequence[Controls],
        controls: Controls | None,
    ) -> None:
        """``signalled``: what each adapter reads in the file; ``of`` makes it."""
        self._base, self._adapters = base, adapters
        self.records, self._signalled, self._controls = records, signalled, controls
        self._attached = Attached(base, [s.adapter for s in adapters], controls, signalled)
        self._exact = Attached(base, [s.exact for s in adapters], None, signalled)
        self.for_encoder = self._attached.for_encoder
        self.for_hyper = self._attached.for_hyper
        self.for_entropy = self._attached.for_entropy
        self.importance = self._attached.importance

    @staticmethod
    def of(
        base: config.Model,
        adapters: Sequence[StoredAdapter],
        signals: Sequence[bytes],
        controls: Controls | None = None,
    ) -> FileAdapters:
        """``signals``: bytes of each adapter. Raises FormatError for those that it cannot read."""
        pairs = list(zip(adapters, signals, strict=True))
        records = tuple(AdapterRecord(s.name, s.fingerprint, signal) for s, signal in pairs if s.adapter.decodes)
        signalled = [stored.adapter.read(signal) for stored, signal in pairs]
        return FileAdapters(base, adapters, records, signalled, controls)

    @property
    def analysis_key(self) -> Hashable:
        """The adapters with an encoder half, in their order, and all that such a half is given: scalars and maps."""
        acting = tuple(stored.adapter for stored in self._adapters if stored.adapter.encodes)
        if not acting or self._controls is None:
            return ()
        controls = (*self._controls.scalars.items(), *self._controls.maps.items())
        return acting, tuple(sorted((name, _digest(value)) for name, value in controls))

    def within(self, part: Rect) -> FileAdapters:
        """The same for a part of the picture. Raises FormatError where a map of the file does not reach so far."""
        controls = self._controls.within(part.rows, part.columns) if self._controls is not None else None
        signalled = [
            replace(own, maps={name: _places(plane, part, stored.name) for name, plane in own.maps.items()})
            for own, stored in zip(self._signalled, self._adapters, strict=True)
        ]
        return FileAdapters(self._base, self._adapters, self.records, signalled, controls)

    def for_decoder(self, decoded: Decoded) -> Steering:
        """Sites in g_s, from ẑ and ŷ."""
        return self._attached.for_decoder(decoded)

    def latents(self) -> LatentSteering:
        """What decides the coding, float64 on the CPU, and what decides its means."""
        return LatentSteering(self._exact.gains(), self._exact.for_entropy, self.for_entropy)


def _digest(values: Tensor) -> bytes:
    return hashlib.sha256(values.detach().cpu().contiguous().numpy().tobytes()).digest()


def _places(plane: Tensor, part: Rect, name: str) -> Tensor:
    """What of a map with a value for every place of y lies in a part of the picture."""
    blocks, count = part.over(STRIDE), LATENTS_A_SIDE
    if blocks.bottom * count > plane.shape[2] or blocks.right * count > plane.shape[3]:
        raise FormatError(f"the map of adapter {name} is smaller than the picture: the file is damaged")
    rows = slice(blocks.top * count, blocks.bottom * count)
    return plane[:, :, rows, blocks.left * count : blocks.right * count].clone()  # a view would keep all of it
