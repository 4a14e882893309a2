"""Latents to coded symbols and back: the schedule of entropy coding, run by an encoder or a decoder."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.codec.coder import Decoder, encode
from promptcodec.codec.coder import Step as CoderStep
from promptcodec.codec.exact import GRID, choose_offsets, pieces, quantise_parameters
from promptcodec.codec.offsets import OffsetReader, pack_offsets
from promptcodec.codec.tables import gaussian_tables
from promptcodec.errors import FormatError, PromptcodecError
from promptcodec.model.base import STRIDE
from promptcodec.model.config import CausalAttention
from promptcodec.model.schedule import Schedule, Step, all_at_once, in_units, run
from promptcodec.model.steering import Decoded, Gains, Steering
from promptcodec.zoo.model_file import StoredModel

LATENTS_A_SIDE = 4  # elements of y along a side for one of z
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


@dataclass(frozen=True)
class LatentSteering:
    """What steers the coding itself, float64 on the CPU: gains beside the model's own, sites in h_s as a function of ẑ,
    and, for an encoder, masks of what is kept (see ``Steering``).
    """

    gains: Gains = field(default_factory=Gains)
    entropy: Callable[[Decoded], Steering] = lambda decoded: Steering()
    keep_y: Tensor | None = None
    keep_z: Tensor | None = None


PLAIN = LatentSteering()


class LatentCoder:
    """Codes y and z of one model. Holds a float64 copy of all that decides a probability, always on the CPU."""

    def __init__(self, model: StoredModel) -> None:
        self.hyper_tables = model.hyper_tables
        self.tables = gaussian_tables()
        network = model.network
        self.config = network.config
        self.h_s = copy.deepcopy(network.h_s).cpu().double()
        self.context = copy.deepcopy(network.context).cpu().double() if network.context is not None else None
        self.sparse_offsets = isinstance(self.config.context, CausalAttention)
        self.gain = copy.deepcopy(network.gain).cpu().double() if network.gain is not None else None
        self.medians = network.prior.medians.cpu().double()

    def gains(self, q: float) -> Gains:
        """Gain factors at q in [0, 1], float64, (1, C, 1, 1)."""
        return Gains() if self.gain is None else Gains(*self.gain(torch.tensor([q], dtype=torch.float64)))

    @torch.inference_mode()
    def parameters(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> tuple[Tensor, Tensor]:
        """log sigma and mean of the gained y, float64 (1, M, h/16, w/16), from the integers of z (1, N, h/64, w/64)."""
        gains = self.gains(q).times(steering.gains)
        scales, means = self._hyper(z_symbols, gains, steering).chunk(2, 1)
        return self._log_sigma(scales, gains.y), means * gains.y

    def schedule(self, z_symbols: Tensor, q: float, steering: LatentSteering = PLAIN) -> Schedule:
        """The steps in which y is coded, given the integers of z; see ``model.schedule``. Scales are log sigma."""
        if self.context is None:
            return all_at_once(*self.parameters(z_symbols, q, steering))
        gains = self.gains(q).times(steering.gains)
        return in_units(self.context.steps(self._hyper(z_symbols, gains, steering)), gains.y, self._log_sigma)

    def _hyper(self, z_symbols: Tensor, gains: Gains, steering: LatentSteering) -> Tensor:
        z_hat = (z_symbols + self.medians) * gains.z_inverse
        with torch.autocast("cpu", enabled=False):
            hyper: Tensor = self.h_s(z_hat, steering.entropy(Decoded(z_hat)).within("h_s"))
        return hyper

    def _log_sigma(self, scales: Tensor, gain: Tensor | float) -> Tensor:
        """log of the gained standard deviation, of what the networks gave and the gain of the same elements."""
        log_sigma = scales if self.config.scale == "log" else scales.clamp_min(0).log()
        return log_sigma + torch.as_tensor(gain, dtype=torch.float64).log()

    @torch.inference_mode()
    def quantise(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> QuantisedLatents:
        """y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of any floating type and device, to symbols.

        Raises PromptcodecError where the networks gave values that are not finite or out of all bounds.
        """
        gains = self.gains(q).times(steering.gains)
        y = y.cpu().double() * gains.y
        z_symbols = _kept(_symbols(z.cpu().double() * gains.z - self.medians), steering.keep_z)
        coded: list[CoderStep] = [(_flat(z_symbols), self._channels(z_symbols), self.hyper_tables)]
        offsets = bytearray()

        def code(step: Step) -> Tensor:
            chosen = choose_offsets(step.scale, step.mean)
            quantised = quantise_parameters(step.scale, step.mean, chosen)
            keep = None if steering.keep_y is None else steering.keep_y.expand_as(y)[step.where]
            symbols = _kept(_symbols(y[step.where] - quantised.means / GRID), keep)
            coded.append((_flat(symbols), quantised.bins.flatten().numpy(), self.tables))
            offsets.extend(chosen)
            return symbols + quantised.means / GRID

        y_hat = run(self.schedule(z_symbols, q, steering), code, tuple(y.shape))
        packed = pack_offsets(bytes(offsets), self.sparse_offsets)
        return QuantisedLatents(tuple(coded), packed, _checksum(z_symbols, y_hat))

    def encode(self, y: Tensor, z: Tensor, q: float, steering: LatentSteering = PLAIN) -> CodedLatents:
        """As ``quantise``, and code the symbols."""
        latents = self.quantise(y, z, q, steering)
        return CodedLatents(encode(latents.steps), latents.offsets, latents.checksum)

    def decode(self, coded: CodedLatents, height: int, width: int, q: float) -> Tensor:
        """The gained y_hat; see ``decode_both``."""
        return self.decode_both(coded, height, width, q)[1]

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
        symbols = decoder.pull(self._channels(z_symbols), self.hyper_tables)
        z_symbols = torch.from_numpy(symbols).reshape(z_symbols.shape)

        def code(step: Step) -> Tensor:
            quantised = quantise_parameters(step.scale, step.mean, offsets.take(pieces(step.mean.numel())))
            symbols = decoder.pull(quantised.bins.flatten().numpy(), self.tables)
            return torch.from_numpy(symbols).reshape(quantised.means.shape) + quantised.means / GRID

        y_hat = run(self.schedule(z_symbols, q, steering), code, shape)
        decoder.finish()
        if not offsets.finish() or _checksum(z_symbols, y_hat) != coded.checksum:
            raise FormatError(
                "the decoded latents do not have the checksum in the file: it is damaged, or was made by a machine "
                "whose arithmetic this one cannot follow"
            )
        return (z_symbols + self.medians) * self.gains(q).times(steering.gains).z_inverse, y_hat

    def _channels(self, z: Tensor) -> NDArray[np.uint8]:
        """Table of each element of z: its channel."""
        per_channel = z.shape[2] * z.shape[3]
        return np.repeat(np.arange(z.shape[1], dtype=np.uint8), per_channel)


def _symbols(values: Tensor) -> Tensor:
    """Round half to even, int32."""
    rounded = values.round()
    largest = float(rounded.abs().max())
    if not math.isfinite(largest) or largest > LARGEST_SYMBOL:
        raise PromptcodecError(
            f"the analysis gave a latent of {largest}, beyond {LARGEST_SYMBOL}: the model's weights are damaged"
        )
    return rounded.to(torch.int32)


def _kept(symbols: Tensor, keep: Tensor | None) -> Tensor:
    """Zero where ``keep`` is."""
    return symbols if keep is None else symbols * (keep.cpu() > 0.5)


def _flat(symbols: Tensor) -> NDArray[np.int32]:
    return symbols.contiguous().flatten().numpy()


def _checksum(z_symbols: Tensor, y_hat: Tensor) -> int:
    """CRC-32 of z's symbols as little-endian int32, then of 256 y_hat as little-endian int64, both in C order."""
    first = zlib.crc32(_flat(z_symbols).astype("<i4").tobytes())
    return zlib.crc32((y_hat * GRID).long().contiguous().numpy().astype("<i8").tobytes(), first)
