"""Adapters in files: encode pictures with them, and open what needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.container import MAX_PIXELS, PtcReader
from promptcodec.bitstream.records import AdapterRecord
from promptcodec.codec.codec import Codec
from promptcodec.codec.effort import effort_of
from promptcodec.errors import ModelMismatchError, OtherBaseError, UnfitError, UsageError
from promptcodec.model.inference.defaults import default_settings
from promptcodec.picture.picture import Picture
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter
from promptcodec.steer.controls import Controls, constant
from promptcodec.steer.file_steering import FileSteering
from promptcodec.steer.kinds import PARAMETER_FREE
from promptcodec.steer.loaded_adapters import loaded_adapters
from promptcodec.steer.methods.quantisation_step import OWN_STEP, QuantisationStep, step_for
from promptcodec.steer.region_map import MapSource, region_map

if TYPE_CHECKING:
    from promptcodec.picture.read import Source


class SteeredCodec:
    """A codec with adapters, in the order in which they act. Files that need none of them open as well.

    Those in the package need not be given: one that takes what is asked for, or that a file names, is attached.
    """

    def __init__(self, codec: Codec, adapters: Sequence[StoredAdapter], left_out: Sequence[str] = ()) -> None:
        """``left_out``: for messages, what was given and does not fit this codec."""
        self.codec = codec
        self.adapters = tuple(adapters)
        self._left_out = tuple(left_out)
        for stored in self.adapters:
            stored.adapter.to(codec.device)

    @staticmethod
    @default_settings()
    def load(codec: Codec, paths: Sequence[str | Path], *, to_decode: bool = False) -> SteeredCodec:
        """With the adapters in files. Raises ModelMismatchError, UsageError.

        ``to_decode``: those made for another base are left out, as files of several bases may be decoded at once;
        otherwise they raise OtherBaseError.
        """
        loaded, left_out = [], []
        for path in paths:
            try:
                loaded.append(loaded_adapters(codec).load(path))
            except OtherBaseError as error:
                if not to_decode:
                    raise
                left_out.append(str(error))
        return SteeredCodec(codec, loaded, left_out)

    @default_settings()
    def encode(
        self,
        image: Source,
        quality: float | None = None,
        *,
        settings: Mapping[str, float] | None = None,
        roi: MapSource | None = None,
        maps: Mapping[str, MapSource] | None = None,
        **options: Any,
    ) -> bytes:
        """As ``Codec.encode``, whose other ``options`` it takes, steered by all adapters.

        A ``target`` is searched with the base's rate, the settings as they are given: the picture is analysed once.

        Raises UsageError for what an adapter lacks, and for what neither an attached one takes nor one in the package.

        ``settings``: scalars by name, 0 to 1. ``maps``: maps by name, each a grey picture of any size, ``x,y,w,h`` in
        pixels, a number for everywhere, or a map (1, 1, H, W) in [0, 1]; ``roi`` is the one of that name. With an
        effort, ``step`` is chosen where it is not set: the one at which the picture, without the effort, costs least;
        models of one rate, unless the effort says their trade-off, stay with their own.
        """
        given = dict(settings or {})
        drawn = dict(maps or {}) | ({} if roi is None else {"roi": roi})
        adapters = self._taking(given, drawn)
        scalars = {name: constant(value) for name, value in given.items()}

        effort = effort_of(options.get("effort", 0))
        steps = any(isinstance(stored.adapter, QuantisationStep) for stored in adapters)
        chooses = steps and "step" not in given and effort.level > 0

        def steered(rgb: NDArray[np.uint8], q: float) -> FileSteering:
            height, width = rgb.shape[:2]
            if chooses:
                step = step_for(self.codec.network, rgb, q, effort.rate_lambda)
                scalars["step"] = constant(OWN_STEP if step is None else step)
            planes = {k: region_map(source, height, width).to(self.codec.device) for k, source in drawn.items()}
            controls = Controls(scalars, planes)
            signals = [stored.adapter.signal(controls) for stored in adapters]
            return FileSteering.of(self.codec.network.config, adapters, signals, controls)

        return self.codec.encode(image, quality, steered=steered, opener=self.open, **options)

    @default_settings()
    def decode_picture(
        self,
        data: bytes | PtcReader,
        settings: Mapping[str, float] | None = None,
        *,
        max_pixels: int | None = MAX_PIXELS,
        **options: Any,
    ) -> Picture:
        """The picture in a .ptc file, as ``Codec.decode_picture``, whose other ``options`` it takes.

        ``settings`` set anew what an adapter of the file leaves to the decoder. A setting that no adapter of the file
        takes attaches one that acts in the decoder alone, such as ``look``: any file of its base takes it.

        Raises ModelMismatchError where an adapter that the file needs is not here, UsageError for settings that are
        fixed in the file or that no adapter of it takes.
        """
        given = dict(settings or {})
        used: set[str] = set()

        def opener(records: tuple[AdapterRecord, ...]) -> FileSteering:
            steering = self._open(records, given, used)
            _check_used(given, used)
            return steering

        picture = self.codec.decode_picture(data, opener, max_pixels=max_pixels, **options)
        _check_used(given, used)
        return picture

    def verify(self, data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> None:
        """As ``Codec.verify``, for files that need adapters too."""
        self.codec.verify(data, self.open, max_pixels=max_pixels)

    @default_settings()
    def open(self, records: tuple[AdapterRecord, ...]) -> FileSteering:
        """The adapters that a file names. Raises ModelMismatchError where one is missing."""
        return self._open(records, {}, set())

    def _open(self, records: tuple[AdapterRecord, ...], given: Mapping[str, float], used: set[str]) -> FileSteering:
        """The adapters that a file names, with ``given`` set anew; adds what can be set to ``used``."""
        chosen = [self._find(record) for record in records]
        signals = []
        for record, stored in zip(records, chosen, strict=True):
            signals.append(_set_anew(stored.adapter, record.signal, given))
            used.update(stored.adapter.settable)
        for name in given:
            if name not in used and (added := self._settable(name)) is not None:
                chosen.append(added)
                signals.append(_set_anew(added.adapter, None, given))
                used.update(added.adapter.settable)
        return FileSteering.of(self.codec.network.config, chosen, signals)

    def _find(self, record: AdapterRecord) -> StoredAdapter:
        for stored in (*self.adapters, *self._shipped):
            if stored.fingerprint == record.fingerprint:
                return stored
        if record.name in PARAMETER_FREE:
            stored = loaded_adapters(self.codec).load(record.name)
            if stored.fingerprint == record.fingerprint:
                return stored
        here = ", ".join(f"{s.name} ({s.fingerprint.hex()})" for s in (*self.adapters, *self._shipped)) or "none"
        raise ModelMismatchError(
            f"the file needs adapter {record.name} ({record.fingerprint.hex()}), which is not here (here: {here}); "
            + "; ".join(("give its file, with --adapter", *self._left_out))
        )

    @cached_property
    def _shipped(self) -> tuple[StoredAdapter, ...]:
        """All that the package has for this base."""
        found = loaded_adapters(self.codec).shipped
        for stored in found:
            stored.adapter.to(self.codec.device)
        return found

    def _settable(self, name: str) -> StoredAdapter | None:
        """An adapter that acts in the decoder alone and takes this setting."""
        return next((s for s in (*self.adapters, *self._shipped) if name in s.adapter.settable), None)

    def _taking(self, given: Mapping[str, float], maps: Mapping[str, MapSource]) -> tuple[StoredAdapter, ...]:
        """The adapters, and those of the package that take what they do not. Raises UsageError where none does."""
        adapters = list(self.adapters)
        for name in maps:
            if not any(name in stored.adapter.maps for stored in adapters):
                adapters += [s for s in self._shipped if name in s.adapter.maps][:1]
        for name in given:
            if not any(name in _takes(stored.adapter) for stored in adapters):
                adapters += [s for s in self._shipped if name in _takes(s.adapter)][:1]
        wanted = {name for stored in (*adapters, *self._shipped) for name in _takes(stored.adapter)}
        for name in given:
            if name not in wanted:
                raise UsageError(f"no adapter takes {name!r}; {_listed(wanted)}")
        for name in maps:
            if not any(name in stored.adapter.maps for stored in adapters):
                what = "region of interest" if name == "roi" else f"map {name!r}"
                raise UsageError(f"no adapter takes a {what}; give one that does, with --adapter")
        return tuple(adapters)


def _takes(adapter: Adapter) -> set[str]:
    return {*adapter.takes, *adapter.optional}


def _set_anew(adapter: Adapter, signal: bytes | None, given: Mapping[str, float]) -> bytes:
    """The signal, if there is one, with those settings that are the decoder's to choose."""
    if signal is not None and not any(name in (*adapter.settable, *adapter.signals) for name in given):
        return signal
    scalars = dict(adapter.read(signal).scalars) if signal is not None else {}
    for name, value in given.items():
        if name not in adapter.settable and name in adapter.signals:
            raise UnfitError(
                f"{name} of adapter {adapter.name} was fixed when the file was made: encode it again to change it"
            )
        if name in adapter.settable:
            scalars[name] = constant(value)
    return adapter.signal(Controls(scalars))


def _check_used(given: Mapping[str, float], used: set[str]) -> None:
    for name in given:
        if name not in used:
            raise UnfitError(f"no adapter of this file takes {name!r}; {_listed(used)}")


def _listed(names: set[str]) -> str:
    return f"what can be set: {', '.join(sorted(names))}" if names else "there is nothing to set"
