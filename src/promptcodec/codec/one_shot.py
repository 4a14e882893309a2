"""Coding with scales from z alone and means afterwards, for models with contextual means.

All symbols are coded with tables that z chose, before a mean is known: ``SymbolCoder`` has no mean network, takes no
latent and gives integers. What a mean may be is float32, on whatever device, and moves pixels by less than a level.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.rans import Decoder
from promptcodec.bitstream.rans import Step as CoderStep
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.backend import Attached, Backend, HyperNetworks
from promptcodec.codec.exact import OffsetReader, choose_scale_offsets, pieces, scale_bins
from promptcodec.codec.latents import (
    CodedLatents,
    QuantisedLatents,
    bits_of_z,
    channels,
    check_decoded,
    flat,
    kept,
    part_of,
    pull_z,
    rounded,
    run,
    symbols_of_z,
    z_hat,
)
from promptcodec.codec.latents import Symbols as Integers
from promptcodec.model.arrays import Analysis, Float64s, Floats, MeanStep


@dataclass(frozen=True)
class Symbols:
    """The integers that a stream holds: z (1, N, h/64, w/64), and y less its means (1, M, h/16, w/16), int32."""

    z: Integers
    y: Integers

    @property
    def checksum(self) -> int:
        """CRC-32 of the symbols of z, then of y, as little-endian int32 in C order."""
        return zlib.crc32(flat(self.y).astype("<i4").tobytes(), zlib.crc32(flat(self.z).astype("<i4").tobytes()))


class SymbolCoder:
    """Symbols to a stream and back. Nothing here sees a decoded latent, so that none can choose a table."""

    def __init__(self, hyper: HyperNetworks) -> None:
        self.hyper, self.tables = hyper, gaussian_tables()

    def quantise(self, symbols: Symbols, log_sigma: Float64s, decoded: tuple[Float64s, Float64s]) -> QuantisedLatents:
        """``symbols`` with their tables, and what they decode to. Raises PromptcodecError where no border offset is
        safe."""
        offsets = choose_scale_offsets(log_sigma)
        steps: tuple[CoderStep, ...] = (
            (flat(symbols.z), channels(symbols.z), self.hyper.tables),
            (flat(symbols.y), scale_bins(log_sigma, offsets).reshape(-1), self.tables),
        )
        return QuantisedLatents(steps, offsets, symbols.checksum, decoded)

    def decode(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Symbols, Float64s]:
        """Return the symbols of a tile of ``height`` x ``width`` pixels, and log σ. Raises as ``decode_both`` does."""
        symbols, log_sigma, _ = self._decoded(coded, height, width, q, attached)
        return symbols, log_sigma

    def bits(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Float64s, Float64s]:
        """-log2 p of every symbol by the tables that coded it, of z and of y. Raises as ``decode_both`` does."""
        symbols, _, bins = self._decoded(coded, height, width, q, attached)
        return bits_of_z(self.hyper, symbols.z), self.tables.symbol_bits(symbols.y, bins)

    def _decoded(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached
    ) -> tuple[Symbols, Float64s, NDArray[np.uint8]]:
        """Symbols, log σ, and the bins of y."""
        decoder, offsets = Decoder(coded.stream), OffsetReader(coded.offsets, sparse=False)
        z_symbols = pull_z(self.hyper, decoder, height, width)
        log_sigma = self.hyper.log_scales(z_symbols, q, attached)
        bins = scale_bins(log_sigma, offsets.take(pieces(log_sigma.size)))
        y_symbols = decoder.pull(bins.reshape(-1), self.tables).reshape(log_sigma.shape)
        decoder.finish()
        symbols = Symbols(z_symbols, y_symbols)
        check_decoded(offsets, symbols.checksum, coded)
        return symbols, log_sigma, bins


class OneShotCoder:
    """Codes y and z of a model with contextual means."""

    def __init__(self, backend: Backend) -> None:
        self.symbols = SymbolCoder(backend.hyper)
        self.hyper = backend.hyper
        self._backend = backend

    def quantise(self, latents: Analysis, q: float, attached: Attached = None) -> QuantisedLatents:
        """Latents before gains to symbols.

        Raises PromptcodecError where the networks gave values that are not finite or out of all bounds.
        """
        gains = self.hyper.gains(q, attached)
        z_symbols = symbols_of_z(self.hyper, latents, gains)
        log_sigma = self.hyper.log_scales(z_symbols, q, attached)
        gained = (latents.y.astype(np.float64) * gains.y).astype(np.float32)
        residual = np.empty(gained.shape, np.int32)

        def code(step: MeanStep) -> Floats:
            keep = part_of(latents.keep_y, gained.shape, step.where)
            symbols = kept(rounded(gained[step.where] - step.mean), keep)
            residual[step.where] = symbols
            return symbols.astype(np.float32) + step.mean

        y_hat = self._means(z_symbols, log_sigma, q, attached, code)
        decoded = z_hat(self.hyper, z_symbols, gains), y_hat.astype(np.float64)
        return self.symbols.quantise(Symbols(z_symbols, residual), log_sigma, decoded)

    def encode(self, latents: Analysis, q: float, attached: Attached = None) -> CodedLatents:
        """As ``quantise``, and code the symbols."""
        return self.quantise(latents, q, attached).coded()

    def verify(self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None) -> None:
        """Raise as ``decode_both`` does, without making means."""
        self.symbols.decode(coded, height, width, q, attached)

    def bits(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Float64s, Float64s]:
        """As ``LatentCoder.bits``."""
        return self.symbols.bits(coded, height, width, q, attached)

    def decode_both(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Float64s, Float64s]:
        """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64), and the gained ŷ, (1, M, h/16, w/16), both float64.

        ``height`` and ``width`` are the tile's, in pixels. ŷ is what float32 made it; the integers that it comes from
        are proven. Raises FormatError unless the stream is consumed exactly, ends in the coder's initial state and
        gives the integers that the encoder saw.
        """
        symbols, log_sigma = self.symbols.decode(coded, height, width, q, attached)
        y_hat = self.latent(symbols, log_sigma, q, attached)
        return z_hat(self.hyper, symbols.z, self.hyper.gains(q, attached)), y_hat.astype(np.float64)

    def latent(self, symbols: Symbols, log_sigma: Float64s, q: float, attached: Attached = None) -> Floats:
        """Return the gained ŷ that ``symbols`` stand for, float32 (1, M, h/16, w/16): the symbols plus the means."""
        residual = symbols.y.astype(np.float32)
        return self._means(symbols.z, log_sigma, q, attached, lambda step: residual[step.where] + step.mean)

    def _means(
        self, z_symbols: Integers, log_sigma: Float64s, q: float, attached: Attached,
        code: Callable[[MeanStep], Floats],
    ) -> Floats:  # fmt: skip
        """ŷ, gained, float32 (1, M, h/16, w/16); ``code`` turns the means of a step into its decoded elements."""
        return run(self._backend.means(z_symbols, log_sigma, q, attached), code, log_sigma.shape)
