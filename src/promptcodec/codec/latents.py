"""Latents to coded symbols and back: the schedule of entropy coding, run by an encoder or a decoder."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.rans import Decoder, encode
from promptcodec.bitstream.rans import Step as CoderStep
from promptcodec.bitstream.tables import gaussian_tables
from promptcodec.codec.backend import Attached, HyperNetworks
from promptcodec.codec.exact import GRID, OffsetReader, choose_offsets, pack_offsets, pieces, quantise_parameters
from promptcodec.errors import FormatError, PromptcodecError
from promptcodec.model.arrays import EVERYWHERE, Analysis, Float64s, Floats, Gains, Step, Where
from promptcodec.model.config import LATENTS_A_SIDE, STRIDE, CausalAttention

DAMAGED = (
    "the decoded latents do not have the checksum in the file: it is damaged, its header or adapters are not those "
    "that it was made with, or it was made by a machine whose arithmetic this one cannot follow"
)
LARGEST_SYMBOL = 2**20  # no picture comes near; what lies beyond is an error, not a file

Symbols = NDArray[np.int32]


class LatentChecksumError(FormatError):
    """Symbols that decode to the end, but to other integers than the encoder saw; ``checksum`` is theirs."""

    def __init__(self, checksum: int) -> None:
        super().__init__(DAMAGED)
        self.checksum = checksum


@dataclass(frozen=True)
class CodedLatents:
    """Coded symbols of one tile with what proves their decode: border offsets of the pieces of y, and a checksum."""

    stream: bytes
    offsets: bytes
    checksum: int


@dataclass(frozen=True)
class QuantisedLatents:
    """As ``CodedLatents``, with the symbols before they are coded: those of z, then those of y.

    ``decoded``: ẑ and ŷ, as ``decode_both`` will give them.
    """

    steps: tuple[CoderStep, ...]
    offsets: bytes
    checksum: int
    decoded: tuple[Float64s, Float64s]

    def coded(self) -> CodedLatents:
        """With the symbols as a stream."""
        return CodedLatents(encode(self.steps), self.offsets, self.checksum)


class LatentCoder:
    """Codes y and z of one model whose hyper networks, with a context model if it has one, give scales and means."""

    def __init__(self, hyper: HyperNetworks) -> None:
        self.hyper, self.tables = hyper, gaussian_tables()
        self.config = hyper.config
        self.sparse_offsets = isinstance(self.config.context, CausalAttention)

    def quantise(self, latents: Analysis, q: float, attached: Attached = None) -> QuantisedLatents:
        """Latents before gains to symbols.

        Raises PromptcodecError where the networks gave values that are not finite or out of all bounds.
        """
        gains = self.hyper.gains(q, attached)
        y = latents.y.astype(np.float64) * gains.y
        z_symbols = symbols_of_z(self.hyper, latents, gains)
        coded: list[CoderStep] = [(flat(z_symbols), channels(z_symbols), self.hyper.tables)]
        offsets = bytearray()

        def code(step: Step) -> Float64s:
            chosen = choose_offsets(step.log_sigma, step.mean)
            quantised = quantise_parameters(step.log_sigma, step.mean, chosen)
            means = quantised.means / np.float64(GRID)
            symbols = kept(rounded(y[step.where] - means), part_of(latents.keep_y, y.shape, step.where))
            coded.append((flat(symbols), quantised.bins.reshape(-1), self.tables))
            offsets.extend(chosen)
            return symbols + means

        y_hat = run(self.hyper.schedule(z_symbols, q, attached), code, y.shape)
        packed = pack_offsets(bytes(offsets), self.sparse_offsets)
        decoded = z_hat(self.hyper, z_symbols, gains), y_hat.astype(np.float64, copy=False)
        return QuantisedLatents(tuple(coded), packed, _checksum(z_symbols, y_hat), decoded)

    def encode(self, latents: Analysis, q: float, attached: Attached = None) -> CodedLatents:
        """As ``quantise``, and code the symbols."""
        return self.quantise(latents, q, attached).coded()

    def verify(self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None) -> None:
        """Raise as ``decode_both`` does."""
        self.decode_both(coded, height, width, q, attached)

    def decode_both(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Float64s, Float64s]:
        """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64) float64, and the gained ŷ.

        ŷ is (1, M, h/16, w/16) float64, every element an integer over 256. ``height`` and ``width`` are the picture's,
        in pixels. Raises FormatError unless the stream is consumed exactly, ends in the coder's initial state and gives
        the integers that the encoder saw.
        """
        return self._decoded(coded, height, width, q, attached, lambda *_: None)

    def bits(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached = None
    ) -> tuple[Float64s, Float64s]:
        """-log2 p of every symbol by the tables that coded it: of z (1, N, h/64, w/64), and of y (1, M, h/16, w/16).

        Raises as ``decode_both`` does.
        """
        of_y = np.zeros(self._shape_of_y(height, width))

        def add(where: Where, symbols: Symbols, bins: NDArray[np.uint8]) -> None:
            of_y[where] = self.tables.symbol_bits(symbols, bins)

        z_symbols = pull_z(self.hyper, Decoder(coded.stream), height, width)
        self._decoded(coded, height, width, q, attached, add)
        return bits_of_z(self.hyper, z_symbols), of_y

    def _decoded(
        self, coded: CodedLatents, height: int, width: int, q: float, attached: Attached,
        report: Callable[[Where, Symbols, NDArray[np.uint8]], None],
    ) -> tuple[Float64s, Float64s]:  # fmt: skip
        """``report`` is told of every step's places with their symbols and bins."""
        decoder, offsets = Decoder(coded.stream), OffsetReader(coded.offsets, self.sparse_offsets)
        z_symbols = pull_z(self.hyper, decoder, height, width)

        def code(step: Step) -> Float64s:
            quantised = quantise_parameters(step.log_sigma, step.mean, offsets.take(pieces(step.mean.size)))
            symbols = decoder.pull(quantised.bins.reshape(-1), self.tables).reshape(quantised.means.shape)
            report(step.where, symbols, quantised.bins)
            return symbols + quantised.means / np.float64(GRID)

        y_hat = run(self.hyper.schedule(z_symbols, q, attached), code, self._shape_of_y(height, width))
        decoder.finish()
        check_decoded(offsets, _checksum(z_symbols, y_hat), coded)
        return z_hat(self.hyper, z_symbols, self.hyper.gains(q, attached)), y_hat.astype(np.float64, copy=False)

    def _shape_of_y(self, height: int, width: int) -> tuple[int, int, int, int]:
        rows, columns = (-(-side // STRIDE) * LATENTS_A_SIDE for side in (height, width))
        return 1, self.config.latent_channels, rows, columns


def check_decoded(offsets: OffsetReader, checksum: int, coded: CodedLatents) -> None:
    """Raise FormatError unless all ``offsets`` are used and ``checksum``, of the decoded integers, is the tile's."""
    if not offsets.finish():
        raise FormatError("the tile has more border offsets than its latents take: the file is damaged")
    if checksum != coded.checksum:
        raise LatentChecksumError(checksum)


class _Placed(Protocol):
    @property
    def where(self) -> Where: ...


AnyStep = TypeVar("AnyStep", bound=_Placed)


def run(
    schedule: Generator[AnyStep, Floats, None], code: Callable[[AnyStep], Floats], shape: tuple[int, ...]
) -> Floats:
    """Drive ``schedule``; ``code`` codes a step and returns its decoded elements. Returns ŷ of ``shape``.

    What a schedule is sent is one array, filled as it goes, and zero where no step has been yet.
    """
    step = next(schedule)
    y_hat: Floats | None = None
    while True:
        part = code(step)
        if step.where is EVERYWHERE:
            y_hat = part
        else:
            if y_hat is None:
                y_hat = np.zeros(shape, part.dtype)
            y_hat[step.where] = part
        try:
            step = schedule.send(y_hat)
        except StopIteration:
            return y_hat


def symbols_of_z(hyper: HyperNetworks, latents: Analysis, gains: Gains) -> Symbols:
    """Return the integers of z that an encoder chooses. Raises PromptcodecError as ``rounded`` does."""
    return kept(rounded(latents.z.astype(np.float64) * gains.z - hyper.medians), latents.keep_z)


def z_hat(hyper: HyperNetworks, z_symbols: Symbols, gains: Gains) -> Float64s:
    """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64)."""
    return (z_symbols + hyper.medians) * gains.z_inverse


def bits_of_z(hyper: HyperNetworks, z_symbols: Symbols) -> Float64s:
    """-log2 p of the integers of z by their tables, of their shape."""
    return hyper.tables.symbol_bits(z_symbols, channels(z_symbols).reshape(z_symbols.shape))


def pull_z(hyper: HyperNetworks, decoder: Decoder, height: int, width: int) -> Symbols:
    """Return the integers of z of a tile of ``height`` x ``width`` pixels. Raises FormatError where the stream is
    short.
    """
    shape = (1, hyper.config.hyper_channels, -(-height // STRIDE), -(-width // STRIDE))
    return decoder.pull(_channels(shape), hyper.tables).reshape(shape)


def channels(z: Symbols) -> NDArray[np.uint8]:
    """Table of each element of z: its channel."""
    return _channels(z.shape)


def _channels(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.repeat(np.arange(shape[1], dtype=np.uint8), shape[2] * shape[3])


def rounded(values: Floats) -> Symbols:
    """Round half to even, int32. Raises PromptcodecError for values that are not finite or out of all bounds."""
    symbols = np.rint(values)
    largest = float(np.abs(symbols).max())
    if not math.isfinite(largest) or largest > LARGEST_SYMBOL:
        raise PromptcodecError(
            f"the analysis gave a latent of {largest}, beyond {LARGEST_SYMBOL}: the model's weights are damaged"
        )
    return symbols.astype(np.int32)


def part_of(keep: NDArray[np.bool_] | None, shape: tuple[int, ...], where: Where) -> NDArray[np.bool_] | None:
    """Return what of a mask that broadcasts to ``shape`` lies at ``where``."""
    return None if keep is None else np.broadcast_to(keep, shape)[where]


def kept(symbols: Symbols, keep: NDArray[np.bool_] | None) -> Symbols:
    """Zero where ``keep`` is not."""
    return symbols if keep is None else symbols * keep


def flat(symbols: Symbols) -> Symbols:
    """Return all symbols in C order, as the entropy coder takes them."""
    return np.ascontiguousarray(symbols).reshape(-1)


def _checksum(z_symbols: Symbols, y_hat: Floats) -> int:
    """CRC-32 of z's symbols as little-endian int32, then of 256 y_hat as little-endian int64, both in C order."""
    first = zlib.crc32(flat(z_symbols).astype("<i4").tobytes())
    return zlib.crc32(np.ascontiguousarray(y_hat * GRID).astype("<i8").tobytes(), first)
