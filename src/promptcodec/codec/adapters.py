"""What a codec asks of adapters; ``promptcodec.steer.library`` has the implementation."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.contents import AdapterRecord
from promptcodec.bitstream.tiling import Rect
from promptcodec.errors import UsageError
from promptcodec.model.effort import Effort

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from promptcodec.picture.picture import Picture

    MapSource = str | Path | float | Image.Image | NDArray[Any] | Tensor | Picture
    """A map over the picture, such as a region of interest; see ``steer.controls``."""


class LoadedAdapter(Protocol):
    """An adapter in memory; the library that loaded it knows the rest."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def fingerprint(self) -> bytes:
        """What files name it by, 8 bytes."""


AdapterSource = str | Path | LoadedAdapter  # its file, its name in the package, or what was loaded from either


@dataclass(frozen=True)
class Request:
    """What a user wants of adapters: which ones beside those of the library, scalars by name, and maps by name."""

    adapters: tuple[AdapterSource, ...] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    maps: Mapping[str, MapSource] = field(default_factory=dict)

    @staticmethod
    def of(
        adapters: Sequence[AdapterSource] = (),
        settings: Mapping[str, float] | None = None,
        roi: MapSource | None = None,
        look: float | None = None,
        maps: Mapping[str, MapSource] | None = None,
    ) -> Request:
        """From the arguments of ``Codec.encode`` and ``decode``. Raises UsageError for what is given twice."""
        scalars, planes = dict(settings or {}), dict(maps or {})
        for name, value, others in (("look", look, scalars), ("roi", roi, planes)):
            if value is not None and name in others:
                raise UsageError(f"{name} is given twice: as {name}= and by its name")
        if look is not None:
            scalars["look"] = look
        if roi is not None:
            planes["roi"] = roi
        return Request(tuple(adapters), scalars, planes)

    def with_settings(self, settings: Mapping[str, float]) -> Request:
        """With some scalars replaced, or added."""
        return replace(self, settings={**self.settings, **settings})

    def __bool__(self) -> bool:
        """Return whether anything is wanted."""
        return bool(self.adapters or self.settings or self.maps)

    def __str__(self) -> str:
        names = [*map(str, self.adapters), *self.settings, *self.maps]
        return ", ".join(names)


class AttachedAdapters(Protocol):
    """Adapters attached to one picture; a backend of their runtime takes them."""

    @property
    def records(self) -> tuple[AdapterRecord, ...]:
        """Those that a decoder needs, with what they signal."""

    @property
    def analysis_key(self) -> Hashable:
        """What of them acts in the analysis: the same picture gives the same latents where two keys are equal. That of
        adapters which only act behind it is ()."""

    def within(self, part: Rect) -> AttachedAdapters:
        """Return the same for a part of the picture: what was asked for pixel by pixel is cut out."""


class AdapterLibrary(Protocol):
    """All adapters that a codec may attach: those of the package, and those that a request names."""

    def with_maps_read(self, request: Request, height: int, width: int) -> Request:
        """Return the request with its maps at the picture's size, in memory, for many calls of ``attach``.

        Raises UsageError and ImageError for what is no map.
        """

    def rate_of(self, request: Request) -> tuple[int | None, bool]:
        """Return the rate step of the base at which the adapters of ``request`` were trained, None if they were trained
        at every rate or the base has only one, and whether one of them carries the rate, as a scalar ``rate`` that the
        request leaves open.

        Raises UsageError where they were trained at different ones, and as ``attach``.
        """

    def attach(self, request: Request, rgb: NDArray[np.uint8], q: float, effort: Effort) -> AttachedAdapters:
        """Return those that ``request``, which wants something, takes, for a picture (H, W, 3) at the rate q in [0, 1].

        Raises UsageError for what no adapter takes, and for what one lacks; ModelMismatchError.
        """

    def open(self, records: tuple[AdapterRecord, ...], request: Request) -> AttachedAdapters | None:
        """Return those that a file names, with settings of ``request`` that are the decoder's to choose; None for none.

        Raises ModelMismatchError where one is missing, UsageError for settings that cannot be set.
        """

    def signalled(self, records: tuple[AdapterRecord, ...]) -> dict[str, float]:
        """Return the scalars that those of a file signal, by name, such as its look. Raises ModelMismatchError."""


class NoAdapters:
    """The library of a codec without adapters: files that need none decode, and nothing can be asked for."""

    def with_maps_read(self, request: Request, height: int, width: int) -> Request:
        """Return the empty request. Raises UsageError where anything is wanted."""
        if request:
            raise _refusal(request)
        return request

    def rate_of(self, request: Request) -> NoReturn:
        """Raises UsageError: there is nothing to attach."""
        raise _refusal(request)

    def attach(self, request: Request, rgb: NDArray[np.uint8], q: float, effort: Effort) -> NoReturn:
        """Raises UsageError: there is nothing to attach."""
        raise _refusal(request)

    def open(self, records: tuple[AdapterRecord, ...], request: Request) -> None:
        """Nothing. Raises UsageError where anything is wanted or needed."""
        if request:
            raise _refusal(request)
        if records:
            names = ", ".join(record.name for record in records)
            raise UsageError(f"the file needs the adapters {names}, and this codec has none; open it with load()")

    def signalled(self, records: tuple[AdapterRecord, ...]) -> dict[str, float]:
        """Return nothing. Raises UsageError for a file that has some."""
        self.open(records, Request())
        return {}


def _refusal(request: Request) -> UsageError:
    return UsageError(f"this codec has no adapters, which {request} needs; make one with promptcodec.load()")
