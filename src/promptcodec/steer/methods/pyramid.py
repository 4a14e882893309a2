"""Rate, region and look by prompts from a pyramid on either side (Kao et al. 2023; papers 000 and 003)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import Decoded, Steering
from promptcodec.steer.adapter import TwoHalves
from promptcodec.steer.controls import Controls, plane
from promptcodec.steer.methods.generator import PromptPyramid
from promptcodec.steer.sites import has_ngram_context


class Pyramid(TwoHalves, kind="pyramid"):
    """Prompts on either side from scalars and maps. The named adapters of the papers are choices of its options:

    - ``scalars`` (signalled where the decoder half needs them) and ``maps`` become constant and given planes in front
      of the picture, in this order; the decoder sees the scalars and ŷ.
    - ``encoder`` and ``decoder`` say which halves there are. ``encoder_stages`` and ``decoder_stages`` choose stages;
      None is all that take prompts.
    - ``context_in`` names a map that says where the N-gram context of g_a acts (paper 003). The file does not hold it.

    Kao et al.: scalars rate, map roi, both halves (13,763,459 parameters with ``tic``, 32,696,387 with ``tic-large``,
    both with their base). Paper 000: scalar look (6,249,536 of its own), decoder-only 3,285,120. Region alone: map roi,
    encoder only.
    """

    def __init__(
        self,
        base: config.Model,
        name: str = "",
        *,
        scalars: Sequence[str] = (),
        maps: Sequence[str] = (),
        encoder: bool = True,
        decoder: bool = True,
        encoder_stages: Sequence[int] | None = None,
        decoder_stages: Sequence[int] | None = None,
        compat_mask: bool = False,
        context_in: str = "",
    ) -> None:
        super().__init__(
            base, name, scalars=list(scalars), maps=list(maps), encoder=encoder, decoder=decoder,
            encoder_stages=encoder_stages, decoder_stages=decoder_stages, compat_mask=compat_mask,
            context_in=context_in,
        )  # fmt: skip
        if context_in and not (encoder and context_in in maps and has_ngram_context(base.analysis)):
            raise UsageError(
                f"context_in = {context_in!r} limits the N-gram context of g_a to a map of the encoder's half; "
                f"{base.name} {'has' if has_ngram_context(base.analysis) else 'has no'} such context, the maps are "
                f"{', '.join(maps) or 'none'}"
            )
        self.context_in = context_in
        self.scalars, self.maps = tuple(scalars), tuple(maps)
        self.signals = self.scalars if decoder else ()
        count = len(self.scalars)
        self.encoder: PromptPyramid | None = None
        self.decoder: PromptPyramid | None = None
        if encoder:
            self.encoder = PromptPyramid(base, "g_a", count + len(self.maps), encoder_stages, compat_mask=compat_mask)
        if decoder:
            self.decoder = PromptPyramid(base, "g_s", count, decoder_stages, compat_mask=compat_mask)

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the prompts from [scalar planes, maps, picture]."""
        if self.encoder is None:
            return Steering()
        planes = [plane(controls.scalar(name), x) for name in self.scalars]
        maps = [controls.map(name).to(x) for name in self.maps]
        steer: Steering = self.encoder(torch.cat([*planes, *maps, x], dim=1))
        return replace(steer, region=controls.map(self.context_in).to(x)) if self.context_in else steer

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the prompts from [scalar planes, ŷ]."""
        if self.decoder is None or decoded.y is None:
            return Steering()
        planes = [plane(signalled.scalar(name), decoded.y) for name in self.scalars]
        return self.decoder(torch.cat([*planes, decoded.y], dim=1))  # type: ignore[no-any-return]

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set prompts of zeros."""
        for half in (self.encoder, self.decoder):
            if half is not None:
                half.start_neutral()


def look(base: config.Model, *, decoder_only: bool = False, name: str = "look") -> Pyramid:
    """Build paper 000's prompts from a look λ in [0, 1], on both sides or on the decoder's alone."""
    return Pyramid(base, name, scalars=("look",), encoder=not decoder_only)


def region(base: config.Model, *, name: str = "region") -> Pyramid:
    """Return the region of interest on a frozen base: encoder prompts from [map, picture].

    Any base decoder opens the file.
    """
    return Pyramid(base, name, maps=("roi",), decoder=False)


def rate_and_region(
    base: config.Model, *, compat_mask: bool = False, masked_context: bool = False, name: str = "kao"
) -> Pyramid:
    """Build Kao et al. 2023: rate and region from one generator, trained jointly with the base.

    Paper 003's codec is this on an N-gram base; ``masked_context`` lets the context act only where the region is.
    """
    return Pyramid(
        base, name, scalars=("rate",), maps=("roi",), compat_mask=compat_mask,
        context_in="roi" if masked_context else "",
    )  # fmt: skip


def rate(base: config.Model, *, name: str = "rate") -> Pyramid:
    """Return the rate alone, by prompts on both sides."""
    return Pyramid(base, name, scalars=("rate",))
