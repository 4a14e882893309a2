"""The adapter: one module that makes steering for the encoder, for the decoder, or for both."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from promptcodec.errors import FormatError, UsageError
from promptcodec.model import config
from promptcodec.model.steering import Decoded, Gains, Steering
from promptcodec.steer.controls import Controls

LEVELS = 2**16 - 1  # of a scalar that travels in a file


class Adapter(nn.Module):
    """Base of all steering methods. Subclasses name their ``kind``, take the base's configuration and options, and
    override the halves that they have.

    ``signals``: names of the scalars in [0, 1] that travel in the file, 16 bits each. The encoder steers with the
    values read back from them. ``settable``: those of them that a user may set anew when decoding, because nothing that
    was coded depends on them. ``scalars``: those that it takes without their travelling, beside ``signals``;
    ``optional``: those that it does without where they are not given (training does not draw them). ``maps``: maps that
    the encoder half needs. An adapter without decoder half leaves nothing in a file, and any decoder opens it.
    """

    kinds: ClassVar[dict[str, type[Adapter]]] = {}
    kind: ClassVar[str] = ""
    signals: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()

    def __init_subclass__(cls, kind: str = "", **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if kind:
            cls.kind = kind
            Adapter.kinds[kind] = cls

    def __init__(self, base: config.Model, name: str = "", **options: Any) -> None:
        """Take ``options``: what ``base`` leaves open, in types that JSON knows; they are stored with the weights."""
        super().__init__()
        self.base, self.name, self.options = base, name or self.kind, options

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the sites in g_a and h_a, and masks, from the padded picture (B, 3, h, w) in [0, 1] and all that was
        asked.
        """
        return Steering()

    def for_hyper(self, y: Tensor, controls: Controls) -> Steering:
        """Return further sites in h_a, and masks, from the latent y (B, M, h/16, w/16) before gains."""
        return Steering()

    def gains(self, signalled: Controls) -> Gains:
        """Return the gains of y and z, which both sides need: float64 when a file is coded.

        One a channel, or one for every place of y as well.
        """
        return Gains()

    def for_entropy(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the sites in h_s, from ẑ: decides probabilities, so that it runs in float64 on the CPU when a file is
        coded.
        """
        return Steering()

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the sites in g_s, from what a decoder knows."""
        return Steering()

    def importance(self, signalled: Controls) -> Tensor | None:
        """Return how much the error of a place counts where latents are refined, (B, 1, h/16, w/16).

        None: all the same.
        """
        return None

    @property
    def decodes(self) -> bool:
        """Whether a decoder needs this adapter."""
        halves = ("gains", "for_entropy", "for_decoder")
        return any(getattr(type(self), half) is not getattr(Adapter, half) for half in halves)

    @property
    def encodes(self) -> bool:
        """Whether it acts in the analysis, whose latents then depend on what it is given."""
        return any(getattr(type(self), half) is not getattr(Adapter, half) for half in ("for_encoder", "for_hyper"))

    @property
    def takes(self) -> set[str]:
        """The scalars that it needs."""
        return {*self.signals, *self.scalars}

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set, before training, weights whose steering does nothing, or nearly, and which still have gradients."""

    @property
    def settable(self) -> tuple[str, ...]:
        """Signalled scalars that may be set anew when decoding."""
        return ()

    def signal(self, controls: Controls) -> bytes:
        """Return the signalled scalars of one picture. Raises UsageError where one is missing or outside 0..1."""
        data = b""
        for name in self.signals:
            value = controls.scalar(name)
            if value.numel() != 1 or not 0 <= float(value) <= 1:
                raise UsageError(f"{name} of adapter {self.name} is {value.tolist()}, expected a number in 0..1")
            data += round(float(value) * LEVELS).to_bytes(2, "little")
        return data

    def read(self, data: bytes) -> Controls:
        """Return the scalars in what ``signal`` wrote, float64. Raises FormatError for other lengths.

        A method may put maps into a file too: those have one value for every place of the padded y, and are cut as the
        picture is.
        """
        if len(data) != 2 * len(self.signals):
            raise FormatError(f"adapter {self.name} signals {2 * len(self.signals)} bytes, the file has {len(data)}")
        values = [int.from_bytes(data[2 * i : 2 * i + 2], "little") / LEVELS for i in range(len(self.signals))]
        return Controls({n: torch.tensor([v], dtype=torch.float64) for n, v in zip(self.signals, values, strict=True)})


class TwoHalves(Adapter):
    """Base of the methods with a half in the encoder, one in the decoder, or both; None where a half is missing."""

    encoder: nn.Module | None
    decoder: nn.Module | None

    @property
    def encodes(self) -> bool:
        """Whether there is an encoder half."""
        return self.encoder is not None

    @property
    def decodes(self) -> bool:
        """Whether there is a decoder half."""
        return self.decoder is not None

    @property
    def settable(self) -> tuple[str, ...]:
        """All scalars, where the encoder knows none of them: one file then decodes to any of their values."""
        return self.signals if self.encoder is None else ()
