"""Coding with scales from z alone and means afterwards, for models with contextual means.

All symbols are coded with tables that z chose, before a mean is known: ``SymbolCoder`` has no mean network, takes no
latent and gives integers. What a mean may be is float32, on whatever device, and moves pixels by less than a level.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from promptcodec.bitstream.offsets import OffsetReader
from promptcodec.bitstream.rans import Decoder, encode
from promptcodec.bitstream.rans import Step as CoderStep
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.exact import choose_scale_offsets, pieces, scale_bins
from promptcodec.codec.latents import (
    CodedLatents,
    QuantisedLatents,
    check_decoded,
    flat,
    kept,
    rounded,
)  # fmt: skip
from promptcodec.model.base import STRIDE
from promptcodec.model.entropy.schedule import MeanStep, run
from promptcodec.model.inference.exact_hyper import PLAIN, ExactHyper, LatentSteering
from promptcodec.model.inference.precision import true_float32
from promptcodec.model.steering import Decoded
from promptcodec.store.model_file import StoredModel


@dataclass(frozen=True)
class Symbols:
    """The integers that a stream holds: z (1, N, h/64, w/64), and y less its means (1, M, h/16, w/16), int32."""

    z: Tensor
    y: Tensor

    @property
    def checksum(self) -> int:
        """CRC-32 of the symbols of z, then of y, as little-endian int32 in C order."""
        return zlib.crc32(flat(self.y).astype("<i4").tobytes(), zlib.crc32(flat(self.z).astype("<i4").tobytes()))


class SymbolCoder:
    """Symbols to a stream and back. Nothing here sees a decoded latent, so that none can choose a table."""

    def __init__(self, model: StoredModel) -> None:
        self.hyper_tables, self.tables = model.hyper_tables, gaussian_tables()
        self.config = model.network.config
        self.hyper = ExactHyper(model.network)

    def log_scales(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> Tensor:
        """log sigma of the gained y, float64 (1, M, h/16, w/16), from the integers of z (1, N, h/64, w/64)."""
        gains = self.hyper.gains(q, steering)
        log_scale = self.hyper.output(self.hyper.z_hat(z_symbols, gains), steering)
        return log_scale + torch.as_tensor(gains.y, dtype=torch.float64).log()

    def quantise(self, symbols: Symbols, log_scale: Tensor) -> QuantisedLatents:
        """``symbols`` with their tables. Raises PromptcodecError where no border offset is safe."""
        offsets = choose_scale_offsets(log_scale)
        steps: tuple[CoderStep, ...] = (
            (flat(symbols.z), self.hyper.channels(symbols.z), self.hyper_tables),
            (flat(symbols.y), scale_bins(log_scale, offsets).flatten().numpy(), self.tables),
        )
        return QuantisedLatents(steps, offsets, symbols.checksum)

    def decode(
        self, coded: CodedLatents, height: int, width: int, q: float, steering: LatentSteering
    ) -> tuple[Symbols, Tensor]:
        """The symbols of a tile of ``height`` x ``width`` pixels, and log sigma. Raises as ``decode_both`` does."""
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        decoder, offsets = Decoder(coded.stream), OffsetReader(coded.offsets, sparse=False)
        shape = (1, self.config.hyper_channels, rows, columns)
        z = decoder.pull(self.hyper.channels(torch.empty(shape, dtype=torch.int32)), self.hyper_tables)
        z_symbols = torch.from_numpy(z).reshape(shape)
        log_scale = self.log_scales(z_symbols, q, steering)
        bins = scale_bins(log_scale, offsets.take(pieces(log_scale.numel())))
        y_symbols = torch.from_numpy(decoder.pull(bins.flatten().numpy(), self.tables)).reshape(log_scale.shape)
        decoder.finish()
        symbols = Symbols(z_symbols, y_symbols)
        check_decoded(offsets, symbols.checksum, coded)
        return symbols, log_scale


class OneShotCoder:
    """Codes y and z of a model with contextual means, which run in float32 on ``device``."""

    def __init__(self, model: StoredModel, device: torch.device) -> None:
        self.symbols, self.device = SymbolCoder(model), device
        self.hyper = self.symbols.hyper
        self._network = model.network

    @torch.inference_mode()
    def parameters(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> Tensor:
        """log sigma of the gained y, float64 (1, M, h/16, w/16), from the integers of z (1, N, h/64, w/64)."""
        return self.symbols.log_scales(z_symbols, q, steering)

    @torch.inference_mode()
    def quantise(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> QuantisedLatents:
        """y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of any floating type and device, to symbols.

        Raises PromptcodecError where the networks gave values that are not finite or out of all bounds.
        """
        gains = self.hyper.gains(q, steering)
        z_symbols = kept(rounded(z.cpu().double() * gains.z - self.hyper.medians), steering.keep_z)
        log_scale = self.symbols.log_scales(z_symbols, q, steering)
        gained = (y.cpu().double() * gains.y).float().to(self.device)
        residual = torch.empty(gained.shape, dtype=torch.int32)

        def code(step: MeanStep) -> Tensor:
            keep = None if steering.keep_y is None else steering.keep_y.expand_as(y)[step.where]
            symbols = kept(rounded((gained[step.where] - step.mean).cpu()), keep)
            residual[step.where] = symbols
            return symbols.to(self.device) + step.mean

        self._means(z_symbols, log_scale, q, steering, code)
        return self.symbols.quantise(Symbols(z_symbols, residual), log_scale)

    def encode(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> CodedLatents:
        """As ``quantise``, and code the symbols."""
        latents = self.quantise(y, z, q, steering)
        return CodedLatents(encode(latents.steps), latents.offsets, latents.checksum)

    @torch.inference_mode()
    def verify(self, coded: CodedLatents, height: int, width: int, q: float, steering: LatentSteering = PLAIN) -> None:
        """Raise as ``decode_both`` does, which needs no means."""
        self.symbols.decode(coded, height, width, q, steering)

    @torch.inference_mode()
    def decode_both(
        self, coded: CodedLatents, height: int, width: int, q: float, steering: LatentSteering = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64), and the gained ŷ, (1, M, h/16, w/16), both float64.

        ``height`` and ``width`` are the tile's, in pixels. ŷ is what float32 made it; the integers that it comes from
        are proven. Raises FormatError unless the stream is consumed exactly, ends in the coder's initial state and
        gives the integers that the encoder saw.
        """
        symbols, log_scale = self.symbols.decode(coded, height, width, q, steering)
        y_hat = self.latent(symbols, log_scale, q, steering)
        return self.hyper.z_hat(symbols.z, self.hyper.gains(q, steering)), y_hat.cpu().double()

    @torch.inference_mode()
    def latent(self, symbols: Symbols, log_scale: Tensor, q: float, steering: LatentSteering = PLAIN) -> Tensor:
        """The gained ŷ that ``symbols`` stand for, float32 (1, M, h/16, w/16): the symbols plus the means."""
        residual = symbols.y.to(self.device)
        return self._means(symbols.z, log_scale, q, steering, lambda step: residual[step.where] + step.mean)

    def _means(
        self, z_symbols: Tensor, log_scale: Tensor, q: float, steering: LatentSteering,
        code: Callable[[MeanStep], Tensor],
    ) -> Tensor:  # fmt: skip
        """ŷ, gained, float32 (1, M, h/16, w/16); ``code`` turns the means of a step into its decoded elements."""
        gains = self.hyper.gains(q, steering)
        z = self.hyper.z_hat(z_symbols, gains).float().to(self.device)
        gain = gains.y.float().to(self.device) if isinstance(gains.y, Tensor) else gains.y
        with true_float32(self.device):
            steer = steering.means(Decoded(z)).within("h_m")
            means = self._network.means(z, log_scale.float().to(self.device), gain, steer)
            return run(means, code, tuple(log_scale.shape))
