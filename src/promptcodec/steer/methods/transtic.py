"""TransTIC (paper 002): prompts that turn a codec for people into one for machines, and all its ablations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.steering import Decoded, Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.feature_prompts import FeaturePrompts
from promptcodec.steer.methods.generator import PromptPyramid
from promptcodec.steer.methods.tokens import SharedTokens
from promptcodec.steer.methods.unet import UNet
from promptcodec.steer.sites import prompted_from, stages_with_tokens

EncoderPrompts = Literal["generated", "pooled", "tokens", "none"]
DecoderPrompts = Literal["tokens", "generated", "pooled", "none"]


class TransTIC(Adapter, kind="transtic"):
    """Prompts from the picture in the first encoder stages, learned tokens in all decoder stages.

    ``encoder``: ``generated`` from the picture by a U-Net (IP), the same ``pooled`` into one set for all windows
    (IP-shared), learned ``tokens`` (TP), or ``none``. ``decoder``: ``tokens``, ``none``, or prompts that are
    ``generated`` (or generated and ``pooled``) in its last two stages from the features before them, with tokens in the
    earlier ones (A3.2: 5,061,187 parameters with the decoder). ``prompts``: 4, 16 or 64 a window. ``encoder_stages``
    and ``decoder_stages``: None is the first two, and all. In the stages ``encoder_carry`` and ``decoder_carry``
    prompts enter at the first block and are updated on the way (A3.1, "shallow"). 1,589,248 + 30,720 parameters on
    ``tic``.
    """

    def __init__(
        self,
        base: config.Model,
        name: str = "",
        *,
        encoder: EncoderPrompts = "generated",
        decoder: DecoderPrompts = "tokens",
        prompts: int = 16,
        encoder_stages: Sequence[int] | None = None,
        decoder_stages: Sequence[int] | None = None,
        encoder_carry: Sequence[int] = (),
        decoder_carry: Sequence[int] = (),
        width: int = 32,
        compat_mask: bool = False,
    ) -> None:
        super().__init__(
            base, name, encoder=encoder, decoder=decoder, prompts=prompts, encoder_stages=encoder_stages,
            decoder_stages=decoder_stages, encoder_carry=list(encoder_carry), decoder_carry=list(decoder_carry),
            width=width, compat_mask=compat_mask,
        )  # fmt: skip
        if encoder not in get_args(EncoderPrompts) or decoder not in get_args(DecoderPrompts):
            raise UsageError(f"TransTIC has no prompts {encoder!r} in the encoder with {decoder!r} in the decoder")
        if encoder_stages is None and encoder != "none":
            encoder_stages = [s.index for s in stages_with_tokens(base, "g_a", None)][:2]
        self.encoder: PromptPyramid | SharedTokens | None = None
        if encoder in ("generated", "pooled"):
            first = prompted_from(base, "g_a")
            stride = math.prod(layer.stride for layer in first.before)
            unet = UNet(base.analysis.in_channels, first.channels, stride, width)
            self.encoder = PromptPyramid(
                base, "g_a", indices=encoder_stages, first=unet, prompts=prompts, carry=encoder_carry,
                pooled=encoder == "pooled", compat_mask=compat_mask,
            )  # fmt: skip
        elif encoder == "tokens":
            self.encoder = SharedTokens(base, "g_a", encoder_stages, prompts, encoder_carry)
        self.decoder: SharedTokens | None = None
        self.features: FeaturePrompts | None = None
        if decoder in ("generated", "pooled"):
            chosen = [stage.index for stage in stages_with_tokens(base, "g_s", decoder_stages)]
            late = [index for index in chosen[-2:] if index > 0] or chosen
            decoder_stages = [index for index in chosen if index not in late]
            self.features = FeaturePrompts(base, "g_s", late, prompts, decoder == "pooled", compat_mask)
        if decoder != "none" and decoder_stages != []:
            self.decoder = SharedTokens(base, "g_s", decoder_stages, prompts, decoder_carry)

    def for_encoder(self, x: Tensor, controls: Controls) -> Steering:
        """Return the prompts of the first stages."""
        if isinstance(self.encoder, SharedTokens):
            return self.encoder()  # type: ignore[no-any-return]
        return self.encoder(x) if self.encoder is not None else Steering()

    def for_decoder(self, decoded: Decoded, signalled: Controls) -> Steering:
        """Return the learned tokens, and prompts from features."""
        tokens = self.decoder() if self.decoder is not None else Steering()
        return tokens if self.features is None else tokens.then(self.features())

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Set generated prompts of zeros, learned tokens of almost zero."""
        generated = None if self.features is None else self.features.pyramid
        for half in (self.encoder, self.decoder, generated):
            if half is not None:
                half.start_neutral()

    @property
    def decodes(self) -> bool:
        """Whether there are prompts in the decoder."""
        return self.decoder is not None or self.features is not None
