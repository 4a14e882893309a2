"""promptcodec as a codec under test: any model, adapters, and what they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from promptcodec import __version__
from promptcodec.api import load
from promptcodec.bitstream.container import unpack
from promptcodec.bitstream.contents import Q_STEPS
from promptcodec.codec.adapters import AdapterSource, Request
from promptcodec.codec.codec import Codec
from promptcodec.codec.file_rate import FileRate, quality_of
from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import OURS, EvaluatedCodec
from promptcodec.evaluate.codecs.timed import TimedBackend
from promptcodec.model.effort import NO_EFFORT, effort_of
from promptcodec.picture.write import to_pil
from promptcodec.quality.pixels import Pixels
from promptcodec.quality.reference_features import to_tensor
from promptcodec.steer.attached import Attached
from promptcodec.steer.library import AdapterLibrary

if TYPE_CHECKING:
    from torch import Tensor

    from promptcodec.codec.search import Target
    from promptcodec.model.base import CompressionModel
    from promptcodec.model.steering import Steerer


class OurCodec(EvaluatedCodec):
    """promptcodec with one model, on the CPU, steered by adapters if there are any."""

    settings: tuple[float, ...] = (0.0, 10, 25, 40, 55, 70, 85, 100)
    whole_settings = False

    def __init__(
        self, model: str | None = None, adapters: Sequence[AdapterSource] = (),
        controls: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """Take ``model``: name or path, None for the default; ``adapters``: files, names of those in the package, or
        loaded ones; ``controls``: scalars by name, and ``effort``.

        Adapters that take a region of interest get the picture's mask. Raises ModelMismatchError where there is no
        such model and for adapters of another one, UsageError for controls that no adapter takes.
        """
        codec = load(model)
        self._timed = TimedBackend(codec.backend)
        self._codec = Codec(self._timed, codec.adapters)
        library = codec.adapters
        self._adapters = library.load(adapters) if isinstance(library, AdapterLibrary) else []
        self._controls = dict(controls or {})
        self._effort = effort_of(self._controls.pop("effort", 0))
        if not self._adapters and self._controls:
            raise UsageError(f"{next(iter(self._controls))} needs an adapter: {OURS}:MODEL+ADAPTER@NAME=VALUE")
        self._rate = FileRate.of(codec.config, library, Request(tuple(self._adapters), self._controls))
        if not self._rate.follows:  # any quality is the same file
            self.settings, self.quality_scale = (quality_of(self._rate.base_step or 0),), False
        self._takes_roi = False
        self._mask: NDArray[np.uint8] | None = None
        self.name = f"{OURS}:{self._codec.name}"
        self.options = {"fingerprint": self._codec.fingerprint}
        self.version = f"promptcodec {__version__}"
        if controls or adapters:
            self.options["controls"] = dict(sorted((controls or {}).items()))
        if not self._adapters:
            self.name += _at(controls)
            return
        self._takes_roi = any("roi" in s.adapter.maps for s in self._adapters)
        self.options["adapters"] = [f"{s.name} {s.fingerprint.hex()}" for s in self._adapters]
        self.name += "".join(f"+{s.name}" for s in self._adapters) + _at(controls)

    def check(self, quality: float) -> None:
        if not 0 <= quality <= 100:
            raise UsageError(f"{self.name} takes a quality from 0 to 100, not {quality:g}")
        if not self._rate.follows and quality != self.settings[0]:
            raise UsageError(f"{self.name} has one rate, whose quality is {self.settings[0]:g}, not {quality:g}")

    def use_mask(self, mask: NDArray[np.uint8] | None) -> None:
        self._mask = mask

    def encode(self, rgb: Pixels, quality: float) -> bytes:
        image = Image.fromarray(rgb)
        start = self._timed.begin()
        data = self._codec.encode(
            image, quality if self._rate.follows else None, adapters=self._adapters,
            settings=self._controls, roi=self._roi(rgb), effort=self._effort,
        )  # fmt: skip
        self._timed.end("encode latents and file", start)
        return data

    def setting_for(self, rgb: Pixels, target: Target) -> float:
        """Return the quality at which ``encode`` hits the target.

        Raises TargetError where there is none, UsageError where the files do not tell.
        """
        data = self._codec.encode(
            Image.fromarray(rgb), target=target, adapters=self._adapters, settings=self._controls, roi=self._roi(rgb),
            effort=self._effort,
        )  # fmt: skip
        file = unpack(data)
        if self._rate.base_step is None:
            return quality_of(file.header.q)
        records = {record.fingerprint: record.signal for record in file.adapters}
        read = [s.adapter.read(records[s.fingerprint]).scalars for s in self._adapters if s.fingerprint in records]
        rates = [float(scalars["rate"]) for scalars in read if "rate" in scalars]
        if not rates:
            raise UsageError(f"{self.name} states no rate in its files: give a quality in place of a target")
        return 100 * rates[0]

    def inputs(self, rgb: Pixels, quality: float) -> tuple[CompressionModel, Tensor, Tensor | None, Steerer | None]:
        """Return the networks, and what they take to make of a picture (H, W, 3) what ``encode`` makes, without an
        effort: x (1, 3, H, W) in [0, 1], the rate (1,) of a model of variable rate, and the steering.
        """
        network: CompressionModel = self._codec.backend.network  # type: ignore[attr-defined]
        position = self._rate.position(quality if self._rate.follows else None, None)
        q = self._rate.step(position) / Q_STEPS
        steering: Steerer | None = None
        if self._adapters:
            roi = self._roi(rgb)
            maps = {} if roi is None else {"roi": roi}
            request = self._rate.steering(Request(tuple(self._adapters), self._controls, maps), position)
            library = self._codec.adapters
            assert isinstance(library, AdapterLibrary)
            attached = library.attach(request, rgb, q, NO_EFFORT)
            signalled = [controls.float() for controls in attached.signalled]  # a file's are float64
            steering = Attached(network.config, attached.adapters, attached.controls, signalled)
        rate = None if network.gain is None else torch.tensor([q])
        return network, to_tensor(rgb), rate, steering

    def decode(self, data: bytes) -> Pixels:
        start = self._timed.begin()
        pixels = np.asarray(to_pil(self._codec.decode_picture(data, adapters=self._adapters)).convert("RGB"))
        self._timed.end("decode file and latents", start)
        return pixels

    @property
    def parameters(self) -> dict[str, int]:
        """Parameters of the model and of each adapter, by name and fingerprint."""
        network = getattr(self._codec.backend, "network", None)
        networks = {} if network is None else {f"{self._codec.name} {self._codec.fingerprint}": network}
        networks |= {f"{s.name} {s.fingerprint.hex()}": s.adapter for s in self._adapters}
        return {name: sum(p.numel() for p in module.parameters()) for name, module in networks.items()}

    @property
    def phases(self) -> dict[str, float]:
        return self._timed.phases

    def _roi(self, rgb: Pixels) -> NDArray[np.uint8] | None:
        if not self._takes_roi:
            return None
        if self._mask is None or self._mask.shape != rgb.shape[:2]:
            raise UsageError(f"{self.name} needs masks of its pictures' sizes, with --masks")
        return self._mask


def _at(controls: Mapping[str, float] | None) -> str:
    """Return the part of a codec's name that states a setting."""
    return "@" * bool(controls) + "&".join(f"{k}={v:g}" for k, v in sorted((controls or {}).items()))


def open_ours(spec: str) -> OurCodec:
    """Open ``promptcodec[:MODEL][+ADAPTER]...[@NAME=VALUE[&NAME=VALUE]...]``: models and adapters by name or path,
    then scalars, and ``effort``.

    Raises UsageError for what cannot be read, and what ``OurCodec`` raises.
    """
    whole, at, options_text = spec.partition("@")
    if at and Path(whole.partition(":")[2] + at + options_text).exists():  # a path with an @
        whole, options_text = spec, ""
    head, *adapters = whole.split("+")
    controls = {}
    for part in options_text.split("&") if options_text else ():
        name, equals, value = part.partition("=")
        try:
            controls[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"{spec}: expected NAME=VALUE after the @, not {part!r}")
    return OurCodec(head.partition(":")[2] or None, adapters, controls)
