"""Adapters in files: encode pictures with them, and open what needs them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from promptcodec.codec.codec import Codec
from promptcodec.codec.container import MAX_PIXELS, PtcReader
from promptcodec.codec.latents import LatentSteering
from promptcodec.codec.picture import Picture
from promptcodec.codec.records import AdapterRecord
from promptcodec.codec.tiling import Rect
from promptcodec.errors import ModelMismatchError, OtherBaseError, UnfitError, UsageError
from promptcodec.model.steering import Decoded, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter, load_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls, constant
from promptcodec.steer.editing import QuantisationStep, Refinement
from promptcodec.steer.region_map import MapSource, region_map

if TYPE_CHECKING:
    from promptcodec.codec.picture_io import Source


class SteeredCodec:
    """A codec with adapters, in the order in which they act. Files that need none of them open as well."""

    def __init__(self, codec: Codec, adapters: Sequence[StoredAdapter], left_out: Sequence[str] = ()) -> None:
        """``left_out``: for messages, what was given and does not fit this codec."""
        self.codec = codec
        self.adapters = tuple(adapters)
        self._left_out = tuple(left_out)
        for stored in self.adapters:
            stored.adapter.to(codec.device)
        self._exact = {stored.fingerprint: _exact(stored.adapter) for stored in self.adapters}

    @staticmethod
    def load(codec: Codec, paths: Sequence[str | Path], *, to_decode: bool = False) -> SteeredCodec:
        """With the adapters in files. Raises ModelMismatchError, UsageError.

        ``to_decode``: those made for another base are left out, as files of several bases may be decoded at once;
        otherwise they raise OtherBaseError.
        """
        loaded, left_out = [], []
        for path in paths:
            try:
                loaded.append(load_adapter(path, codec.network))
            except OtherBaseError as error:
                if not to_decode:
                    raise
                left_out.append(str(error))
        return SteeredCodec(codec, loaded, left_out)

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

        ``settings``: scalars by name, 0 to 1. ``maps``: maps by name, each a grey picture of any size, ``x,y,w,h`` in
        pixels, a number for everywhere, or a map (1, 1, H, W) in [0, 1]; ``roi`` is the one of that name. Raises
        UsageError for what an adapter lacks and for what none takes. With a refinement, ``step`` is chosen where it is
        not set: the one at which the picture, before it is refined, costs least.
        """
        given = dict(settings or {})
        drawn = dict(maps or {}) | ({} if roi is None else {"roi": roi})
        self._check_given(given, drawn)
        scalars = {name: constant(value) for name, value in given.items()}

        refine, chooses = options.get("refine"), None
        steps = any(isinstance(stored.adapter, QuantisationStep) for stored in self.adapters)
        if steps and "step" not in given and isinstance(refine, Refinement):
            chooses = refine

        def steered(rgb: NDArray[np.uint8], q: float) -> FileSteering:
            height, width = rgb.shape[:2]
            if chooses is not None:
                scalars["step"] = constant(chooses.best_step(self.codec.network, rgb, q))
            planes = {k: region_map(source, height, width).to(self.codec.device) for k, source in drawn.items()}
            controls = Controls(scalars, planes)
            signals = [stored.adapter.signal(controls) for stored in self.adapters]
            return FileSteering(self.codec, self.adapters, signals, self._exact, controls)

        return self.codec.encode(
            image, quality, steered=steered, opener=lambda records: self._open(records, {}, set()), **options
        )

    def decode_picture(
        self,
        data: bytes | PtcReader,
        settings: Mapping[str, float] | None = None,
        *,
        max_pixels: int | None = MAX_PIXELS,
        **options: Any,
    ) -> Picture:
        """The picture in a .ptc file, as ``Codec.decode_picture``, whose other ``options`` it takes.

        ``settings`` set anew what an adapter of the file leaves to the decoder.

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
        self.codec.verify(data, lambda records: self._open(records, {}, set()), max_pixels=max_pixels)

    def _open(self, records: tuple[AdapterRecord, ...], given: Mapping[str, float], used: set[str]) -> FileSteering:
        """The adapters that a file names, with ``given`` set anew; adds what can be set to ``used``."""
        chosen = [self._find(record) for record in records]
        signals = []
        for record, stored in zip(records, chosen, strict=True):
            signals.append(_set_anew(stored.adapter, record.signal, given))
            used.update(stored.adapter.settable)
        return FileSteering(self.codec, chosen, signals, self._exact)

    def _find(self, record: AdapterRecord) -> StoredAdapter:
        for stored in self.adapters:
            if stored.fingerprint == record.fingerprint:
                return stored
        here = ", ".join(f"{s.name} ({s.fingerprint.hex()})" for s in self.adapters) or "none"
        raise ModelMismatchError(
            f"the file needs adapter {record.name} ({record.fingerprint.hex()}), which is not here (attached: {here}); "
            + "; ".join(("give its file, with --adapter", *self._left_out))
        )

    def _check_given(self, given: Mapping[str, float], maps: Mapping[str, MapSource]) -> None:
        wanted = {name for stored in self.adapters for name in stored.adapter.takes}
        for name in given:
            if name not in wanted:
                raise UsageError(f"no adapter takes {name!r}; {_listed(wanted)}")
        for name in maps:
            if not any(name in stored.adapter.maps for stored in self.adapters):
                what = "region of interest" if name == "roi" else f"map {name!r}"
                raise UsageError(f"no adapter takes a {what}; give one that does, with --adapter")


class FileSteering:
    """The adapters of one file with what they signal: what ``codec.steered.Steered`` asks for.

    Without ``controls``, a decoder's.
    """

    def __init__(
        self,
        codec: Codec,
        adapters: Sequence[StoredAdapter],
        signals: Sequence[bytes],
        exact: Mapping[bytes, Adapter],
        controls: Controls | None = None,
    ) -> None:
        self._codec, self._adapters, self._signals, self._exact_copies = codec, adapters, signals, exact
        self._controls = controls
        base = codec.network.config
        read = [stored.adapter.read(signal) for stored, signal in zip(adapters, signals, strict=True)]
        pairs = list(zip(adapters, signals, strict=True))
        self._attached = Attached(base, [s.adapter for s in adapters], controls, read)
        self._exact = Attached(base, [exact[s.fingerprint] for s in adapters], None, read)
        self.records = tuple(
            AdapterRecord(stored.name, stored.fingerprint, signal) for stored, signal in pairs if stored.adapter.decodes
        )
        self.for_encoder = self._attached.for_encoder
        self.for_hyper = self._attached.for_hyper
        self.for_entropy = self._attached.for_entropy

    def within(self, part: Rect) -> FileSteering:
        """The same for a part of the picture."""
        controls = self._controls.within(part.rows, part.columns) if self._controls is not None else None
        return FileSteering(self._codec, self._adapters, self._signals, self._exact_copies, controls)

    def for_decoder(self, decoded: Decoded) -> Steering:
        """Sites in g_s, from ẑ and ŷ."""
        return self._attached.for_decoder(decoded)

    def latents(self, encoder: Steering | None = None) -> LatentSteering:
        """What decides the coding, float64 on the CPU."""
        masks = encoder or Steering()
        return LatentSteering(self._exact.gains(), self._exact.for_entropy, masks.keep_y, masks.keep_z)


def _exact(adapter: Adapter) -> Adapter:
    """A float64 copy on the CPU, where it decides a probability: that runs there."""
    halves = ("gains", "for_entropy")
    if all(getattr(type(adapter), half) is getattr(Adapter, half) for half in halves):
        return adapter
    return copy.deepcopy(adapter).cpu().double()


def _set_anew(adapter: Adapter, signal: bytes, given: Mapping[str, float]) -> bytes:
    """The signal with those settings that are the decoder's to choose."""
    scalars = dict(adapter.read(signal).scalars)
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
