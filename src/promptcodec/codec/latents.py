"""Latents to coded symbols and back: the schedule of entropy coding, run by an encoder or a decoder."""

from __future__ import annotations

import copy
import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.bitstream.offsets import OffsetReader, pack_offsets
from promptcodec.bitstream.rans import Decoder, encode
from promptcodec.bitstream.rans import Step as CoderStep
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.exact import GRID, choose_offsets, pieces, quantise_parameters
from promptcodec.errors import FormatError, PromptcodecError
from promptcodec.model.base import STRIDE, CompressionModel
from promptcodec.model.config import CausalAttention
from promptcodec.model.entropy.causal import CausalContext
from promptcodec.model.entropy.context import SpaceChannelContext
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import Schedule, Step, all_at_once, in_units, run
from promptcodec.model.inference.exact_hyper import PLAIN, ExactHyper, LatentSteering
from promptcodec.store.model_file import StoredModel

LATENTS_A_SIDE = 4  # elements of y along a side for one of z
DAMAGED = (
    "the decoded latents do not have the checksum in the file: it is damaged, or was made by a machine "
    "whose arithmetic this one cannot follow"
)
LARGEST_SYMBOL = 2**20  # no picture comes near; what lies beyond is an error, not a file


@dataclass(frozen=True)
class CodedLatents:
    """Coded symbols of one tile with what proves their decode: border offsets of the pieces of y, and a checksum."""

    stream: bytes
    offsets: bytes
    checksum: int


@dataclass(frozen=True)
class QuantisedLatents:
    """As ``CodedLatents``, with the symbols before they are coded: those of z, then those of y."""

    steps: tuple[CoderStep, ...]
    offsets: bytes
    checksum: int


class LatentCoder:
    """Codes y and z of one model. Holds a float64 copy of all that decides a probability, always on the CPU."""

    def __init__(self, model: StoredModel) -> None:
        self.hyper_tables = model.hyper_tables
        self.tables = gaussian_tables()
        network = model.network
        self.config = network.config
        self.hyper = ExactHyper(network)
        self.context = _exact_context(network)
        self.sparse_offsets = isinstance(self.config.context, CausalAttention)

    @torch.inference_mode()
    def parameters(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> tuple[Tensor, Tensor]:
        """log sigma and mean of the gained y, float64 (1, M, h/16, w/16), from the integers of z (1, N, h/64, w/64)."""
        gains = self.hyper.gains(q, steering)
        scales, means = self.hyper.output(self.hyper.z_hat(z_symbols, gains), steering).chunk(2, 1)
        return self._log_sigma(scales, gains.y), means * gains.y

    def schedule(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> Schedule:
        """The steps in which y is coded, given the integers of z: ``model.entropy.schedule``. Scales: log sigma."""
        if self.context is None:
            return all_at_once(*self.parameters(z_symbols, q, steering))
        gains = self.hyper.gains(q, steering)
        features = self.hyper.output(self.hyper.z_hat(z_symbols, gains), steering)
        return in_units(self.context.steps(features), gains.y, self._log_sigma)

    def _log_sigma(self, scales: Tensor, gain: Tensor | float) -> Tensor:
        """log of the gained standard deviation, of what the networks gave and the gain of the same elements."""
        log_sigma = scales if self.config.scale == "log" else scales.clamp_min(0).log()
        return log_sigma + torch.as_tensor(gain, dtype=torch.float64).log()

    @torch.inference_mode()
    def quantise(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> QuantisedLatents:
        """y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of any floating type and device, to symbols.

        Raises PromptcodecError where the networks gave values that are not finite or out of all bounds.
        """
        gains = self.hyper.gains(q, steering)
        y = y.cpu().double() * gains.y
        z_symbols = kept(rounded(z.cpu().double() * gains.z - self.hyper.medians), steering.keep_z)
        coded: list[CoderStep] = [(flat(z_symbols), self.hyper.channels(z_symbols), self.hyper_tables)]
        offsets = bytearray()

        def code(step: Step) -> Tensor:
            chosen = choose_offsets(step.scale, step.mean)
            quantised = quantise_parameters(step.scale, step.mean, chosen)
            keep = None if steering.keep_y is None else steering.keep_y.expand_as(y)[step.where]
            symbols = kept(rounded(y[step.where] - quantised.means / GRID), keep)
            coded.append((flat(symbols), quantised.bins.flatten().numpy(), self.tables))
            offsets.extend(chosen)
            return symbols + quantised.means / GRID

        y_hat = run(self.schedule(z_symbols, q, steering), code, tuple(y.shape))
        packed = pack_offsets(bytes(offsets), self.sparse_offsets)
        return QuantisedLatents(tuple(coded), packed, _checksum(z_symbols, y_hat))

    def encode(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> CodedLatents:
        """As ``quantise``, and code the symbols."""
        latents = self.quantise(y, z, q, steering)
        return CodedLatents(encode(latents.steps), latents.offsets, latents.checksum)

    def verify(self, coded: CodedLatents, height: int, width: int, q: float, steering: LatentSteering = PLAIN) -> None:
        """Raise as ``decode_both`` does."""
        self.decode_both(coded, height, width, q, steering)

    @torch.inference_mode()
    def decode_both(
        self, coded: CodedLatents, height: int, width: int, q: float, steering: LatentSteering = PLAIN
    ) -> tuple[Tensor, Tensor]:
        """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64) float64, and the gained ŷ.

        ŷ is (1, M, h/16, w/16) float64, every element an integer over 256. ``height`` and ``width`` are the picture's,
        in pixels. Raises FormatError unless the stream is consumed exactly, ends in the coder's initial state and gives
        the integers that the encoder saw.
        """
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        shape = (1, self.config.latent_channels, rows * LATENTS_A_SIDE, columns * LATENTS_A_SIDE)
        decoder, offsets = Decoder(coded.stream), OffsetReader(coded.offsets, self.sparse_offsets)
        z_symbols = torch.empty((1, self.config.hyper_channels, rows, columns), dtype=torch.int32)
        symbols = decoder.pull(self.hyper.channels(z_symbols), self.hyper_tables)
        z_symbols = torch.from_numpy(symbols).reshape(z_symbols.shape)

        def code(step: Step) -> Tensor:
            quantised = quantise_parameters(step.scale, step.mean, offsets.take(pieces(step.mean.numel())))
            symbols = decoder.pull(quantised.bins.flatten().numpy(), self.tables)
            return torch.from_numpy(symbols).reshape(quantised.means.shape) + quantised.means / GRID

        y_hat = run(self.schedule(z_symbols, q, steering), code, shape)
        decoder.finish()
        if not offsets.finish() or _checksum(z_symbols, y_hat) != coded.checksum:
            raise FormatError(DAMAGED)
        return self.hyper.z_hat(z_symbols, self.hyper.gains(q, steering)), y_hat


def _exact_context(network: CompressionModel) -> SpaceChannelContext | CausalContext | None:
    if isinstance(network.context, ContextualMean):
        raise PromptcodecError(f"{network.config.name} has contextual means, which are coded by OneShotCoder")
    return None if network.context is None else copy.deepcopy(network.context).cpu().double()


def rounded(values: Tensor) -> Tensor:
    """Round half to even, int32. Raises PromptcodecError for values that are not finite or out of all bounds."""
    symbols = values.round()
    largest = float(symbols.abs().max())
    if not math.isfinite(largest) or largest > LARGEST_SYMBOL:
        raise PromptcodecError(
            f"the analysis gave a latent of {largest}, beyond {LARGEST_SYMBOL}: the model's weights are damaged"
        )
    return symbols.to(torch.int32)


def kept(symbols: Tensor, keep: Tensor | None) -> Tensor:
    """Zero where ``keep`` is."""
    return symbols if keep is None else symbols * (keep.cpu() > 0.5)


def flat(symbols: Tensor) -> NDArray[np.int32]:
    """All symbols in C order, as the entropy coder takes them."""
    return symbols.contiguous().flatten().numpy()


def _checksum(z_symbols: Tensor, y_hat: Tensor) -> int:
    """CRC-32 of z's symbols as little-endian int32, then of 256 y_hat as little-endian int64, both in C order."""
    first = zlib.crc32(flat(z_symbols).astype("<i4").tobytes())
    return zlib.crc32((y_hat * GRID).long().contiguous().numpy().astype("<i8").tobytes(), first)
