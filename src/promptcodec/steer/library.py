"""The adapters that a codec may attach: those of the package, and those that a request names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from promptcodec.bitstream.contents import AdapterRecord
from promptcodec.codec.adapters import AdapterSource, Request
from promptcodec.errors import ModelMismatchError, OtherBaseError, UnfitError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.effort import Effort
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import LoadedAdapters, StoredAdapter
from promptcodec.steer.attached import FileAdapters
from promptcodec.steer.controls import Controls, constant, region_map
from promptcodec.steer.kinds import PARAMETER_FREE
from promptcodec.steer.methods.quantisation_step import OWN_STEP, QuantisationStep, step_for

if TYPE_CHECKING:
    from promptcodec.codec.adapters import MapSource


class AdapterLibrary:
    """Adapters for one base: what ``codec.adapters.AdapterLibrary`` asks for. Safe to use from several threads.

    Those in the package need not be named: one that takes what is asked for, or that a file names, is attached.
    """

    def __init__(self, network: CompressionModel, device: str | torch.device = "cpu") -> None:
        self._network, self._device = network, torch.device(device)
        self.files = LoadedAdapters(network)
        self._opened: tuple[StoredAdapter, ...] | None = None

    def with_maps_read(self, request: Request, height: int, width: int) -> Request:
        """Return the request with its maps as tensors (1, 1, height, width) in [0, 1]. Raises UsageError and
        ImageError.
        """
        return replace(request, maps={k: region_map(source, height, width) for k, source in request.maps.items()})

    def taking(self, request: Request) -> tuple[StoredAdapter, ...]:
        """Return the adapters that ``request`` names, and those of the package for what none of them takes.

        Raises UsageError for settings and maps that no adapter takes, ModelMismatchError as ``load``.
        """
        return self._taking(self.load(request.adapters), request.settings, request.maps)

    def rate_of(self, request: Request) -> tuple[int | None, bool]:
        """Return the rate step of the base at which the adapters that ``request`` takes were trained, None if they
        were trained at every rate or the base has only one, and whether one of them carries the rate, as a scalar
        ``rate`` that the request leaves open.

        Raises UsageError where they were trained at different ones, and as ``attach``.
        """
        adapters = self.taking(request)
        steps = {stored.base_step: stored for stored in adapters if stored.base_lambda}
        if len(steps) > 1:
            trained = " and ".join(f"{s.name} at λ = {s.base_lambda:g}" for s in steps.values())
            raise UsageError(
                f"these adapters were trained at different rates of the base: {trained}; take those of one"
            )
        carried = "rate" not in request.settings and any("rate" in stored.adapter.takes for stored in adapters)
        return next(iter(steps), None), carried

    def attach(self, request: Request, rgb: NDArray[np.uint8], q: float, effort: Effort) -> FileAdapters:
        """Return the adapters that ``request`` takes, for a picture (H, W, 3) at the rate q in [0, 1].

        With an effort, the setting ``step`` is chosen where it is not given: the one at which the picture, without the
        effort, costs least; models of one rate, unless the effort says their trade-off, stay with their own.

        Raises UsageError for what an adapter lacks, and for what neither one that is named takes nor one in the
        package; ModelMismatchError for adapters that are not those of this base.
        """
        height, width = rgb.shape[:2]
        adapters = self.taking(request)
        scalars = {name: constant(value) for name, value in request.settings.items()}
        steps = any(isinstance(stored.adapter, QuantisationStep) for stored in adapters)
        if steps and "step" not in request.settings and effort.level > 0:
            step = step_for(self._network, rgb, q, effort.rate_lambda)
            scalars["step"] = constant(OWN_STEP if step is None else step)
        planes = {k: region_map(source, height, width).to(self._device) for k, source in request.maps.items()}
        controls = Controls(scalars, planes)
        signals = [stored.adapter.signal(controls) for stored in adapters]
        return FileAdapters.of(self._network.config, adapters, signals, controls)

    def open(self, records: tuple[AdapterRecord, ...], request: Request) -> FileAdapters | None:
        """Return the adapters that a file names.

        Settings of ``request`` set anew what an adapter of the file leaves to the decoder. A setting that no adapter
        of the file takes attaches one that acts in the decoder alone, such as ``look``: any file of its base takes it.
        Adapters of ``request`` that were made for another base are left out, as files of several bases may be decoded
        with the same ones.

        Raises ModelMismatchError where an adapter that the file needs is not here, UsageError for settings that are
        fixed in the file or that no adapter of it takes.
        """
        if not records and not request.settings:
            return None
        named, left_out = [], []
        for source in request.adapters:
            try:
                named += self.load([source])
            except OtherBaseError as error:
                left_out.append(str(error))
        return self._open(records, request.settings, named, left_out)

    def signalled(self, records: tuple[AdapterRecord, ...]) -> dict[str, float]:
        """Return the scalars that a file's adapters signal, by name, such as its look. Raises ModelMismatchError."""
        read = (self._find(record, (), ()).adapter.read(record.signal) for record in records)
        return {name: float(value) for controls in read for name, value in controls.scalars.items()}

    def load(self, sources: Sequence[AdapterSource]) -> list[StoredAdapter]:
        """Adapters in files, by name, or loaded already. Raises ModelMismatchError, OtherBaseError, UsageError."""
        return [self._loaded(source) for source in sources]

    def _loaded(self, source: AdapterSource) -> StoredAdapter:
        if isinstance(source, StoredAdapter):
            return source
        if isinstance(source, (str, os.PathLike)):
            return self._moved(self.files.load(source))
        raise UsageError(f"expected an adapter, its file or its name, found {type(source).__name__}")

    def _open(
        self, records: tuple[AdapterRecord, ...], settings: Mapping[str, float], named: Sequence[StoredAdapter],
        left_out: Sequence[str],
    ) -> FileAdapters:  # fmt: skip
        """Return ``left_out``: for messages, which named adapters do not fit this base."""
        chosen = [self._find(record, named, left_out) for record in records]
        signals: list[bytes] = []
        settable: set[str] = set()
        for record, stored in zip(records, chosen, strict=True):
            signals.append(_set_anew(stored.adapter, record.signal, settings))
            settable.update(stored.adapter.settable)
        for name in settings:
            if name not in settable:
                added = next((s for s in (*named, *self._shipped) if name in s.adapter.settable), None)
                if added is None:
                    raise UnfitError(f"no adapter of this file takes {name!r}; {_listed(settable)}")
                chosen.append(added)
                signals.append(_set_anew(added.adapter, None, settings))
                settable.update(added.adapter.settable)
        return FileAdapters.of(self._network.config, chosen, signals)

    def _find(self, record: AdapterRecord, named: Sequence[StoredAdapter], left_out: Sequence[str]) -> StoredAdapter:
        for stored in (*named, *self._shipped):
            if stored.fingerprint == record.fingerprint:
                return stored
        if record.name in PARAMETER_FREE:
            (stored,) = self.load([record.name])
            if stored.fingerprint == record.fingerprint:
                return stored
        here = ", ".join(f"{s.name} ({s.fingerprint.hex()})" for s in (*named, *self._shipped)) or "none"
        raise ModelMismatchError(
            f"the file needs adapter {record.name} ({record.fingerprint.hex()}), which is not here (here: {here}); "
            + "; ".join(("give its file, with --adapter", *left_out))
        )

    @property
    def _shipped(self) -> tuple[StoredAdapter, ...]:
        """All that the package has for this base, opened once, and again where the program has defined a kind anew."""
        if self._opened is None or not all(Adapter.kinds.get(s.adapter.kind) is type(s.adapter) for s in self._opened):
            self._opened = tuple(map(self._moved, self.files.shipped))
        return self._opened

    def _moved(self, stored: StoredAdapter) -> StoredAdapter:
        stored.adapter.to(self._device)
        return stored

    def _taking(
        self, named: Sequence[StoredAdapter], settings: Mapping[str, float], maps: Mapping[str, MapSource]
    ) -> tuple[StoredAdapter, ...]:
        """Return the named adapters, and those of the package that take what they do not.

        Raises UsageError if none does.
        """
        adapters = list(named)
        for name in maps:
            if not any(name in stored.adapter.maps for stored in adapters):
                adapters += [s for s in self._shipped if name in s.adapter.maps][:1]
        for name in settings:
            if not any(name in _takes(stored.adapter) for stored in adapters):
                adapters += [s for s in self._shipped if name in _takes(s.adapter)][:1]
        known = {name for stored in (*adapters, *self._shipped) for name in _takes(stored.adapter)}
        for name in settings:
            if name not in known:
                raise UsageError(f"no adapter takes {name!r}; {_listed(known)}")
        for name in maps:
            if not any(name in stored.adapter.maps for stored in adapters):
                what = "region of interest" if name == "roi" else f"map {name!r}"
                raise UsageError(f"no adapter takes a {what}; give one that does, with --adapter")
        return tuple(adapters)


def _takes(adapter: Adapter) -> set[str]:
    return {*adapter.takes, *adapter.optional}


def _set_anew(adapter: Adapter, signal: bytes | None, settings: Mapping[str, float]) -> bytes:
    """Return the signal, if there is one, with those settings that are the decoder's to choose."""
    if signal is not None and not any(name in (*adapter.settable, *adapter.signals) for name in settings):
        return signal
    scalars = dict(adapter.read(signal).scalars) if signal is not None else {}
    for name, value in settings.items():
        if name not in adapter.settable and name in adapter.signals:
            raise UnfitError(
                f"{name} of adapter {adapter.name} was fixed when the file was made: encode it again to change it"
            )
        if name in adapter.settable:
            scalars[name] = constant(value)
    return adapter.signal(Controls(scalars))


def _listed(names: set[str]) -> str:
    return f"what can be set: {', '.join(sorted(names))}" if names else "there is nothing to set"
