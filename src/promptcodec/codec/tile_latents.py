"""Latents of tiles: cut out of an analysis that saw more, and decoded with what the tiles around them give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, overload

from torch import Tensor

from promptcodec.bitstream.container import PtcReader
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.latents import LATENTS_A_SIDE, CodedLatents, LatentChecksumError
from promptcodec.errors import FormatError
from promptcodec.model.base import STRIDE
from promptcodec.model.inference.exact_hyper import PLAIN, LatentSteering

if TYPE_CHECKING:
    from promptcodec.codec.codec import Codec
    from promptcodec.codec.steered import Steered

Result = TypeVar("Result")


@dataclass(frozen=True)
class Analysed:
    """y and z of one tile before gains, and what steers their coding."""

    y: Tensor
    z: Tensor
    steering: LatentSteering


@overload
def cropped(latent: Tensor, part: Rect, stride: int) -> Tensor: ...
@overload
def cropped(latent: None, part: Rect, stride: int) -> None: ...


def cropped(latent: Tensor | None, part: Rect, stride: int) -> Tensor | None:
    """What of a latent, or of a mask of one (B, C, h or 1, w or 1), lies in ``part``: whole blocks of 64 pixels."""
    if latent is None:
        return None
    blocks = part.over(STRIDE)
    count = STRIDE // stride
    rows = slice(blocks.top * count, blocks.bottom * count) if latent.shape[2] > 1 else slice(None)
    columns = slice(blocks.left * count, blocks.right * count) if latent.shape[3] > 1 else slice(None)
    found = latent[:, :, rows, columns]
    return latent if found.shape == latent.shape else found.clone()  # a view would keep all of it


class DecodedTiles:
    """Decoded latents of a file's tiles, each decoded, and checked, when it is first needed."""

    def __init__(self, codec: Codec, file: PtcReader, steered: Steered | None) -> None:
        self._codec, self._file, self._steered = codec, file, steered
        self._grid, self._q = file.header.grid, file.header.q / (2**16 - 1)
        self._found: dict[int, tuple[Tensor, Tensor]] = {}

    def check(self, index: int) -> None:
        """Decode one tile's symbols and keep nothing. Raises FormatError where their checksum is not the file's."""
        self._proven(index, self._codec.coder.verify)

    def region(self, region: Rect) -> tuple[Tensor, Tensor]:
        """ŷ (1, M, h/16, w/16) and ẑ (1, N, h/64, w/64) as the synthesis sees them, float32, of a part of the picture.

        Its upper left corner is a multiple of 64 pixels.
        """
        parts = [(self._grid.tile(index), self._tile(index)) for index in self._grid.touching(region)]
        if len(parts) == 1 and parts[0][0] == region:
            return parts[0][1]
        y = _joined([(tile, latents[0]) for tile, latents in parts], region, STRIDE // LATENTS_A_SIDE)
        return y, _joined([(tile, latents[1]) for tile, latents in parts], region, STRIDE)

    def forget(self, index: int, halo: int) -> None:
        """Drop what no tile after ``index`` needs."""
        following = self._grid.tile(min(index + 1, self._grid.count - 1))
        for other in list(self._found):
            tile = self._grid.tile(other)
            above = tile.bottom + halo <= following.top
            passed = tile.bottom <= following.top and tile.right + halo <= following.left
            if above or passed:
                del self._found[other]

    def _tile(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self._found:
            z_hat, y_hat = self._proven(index, self._codec.coder.decode_both)
            steering = self._steering(index)
            self._found[index] = self._codec.dequantised(y_hat, self._q, steering), z_hat.float()
        return self._found[index]

    def _proven(self, index: int, decode: Callable[..., Result]) -> Result:
        """What ``decode`` makes of a tile; where its checksum is that of another place, the error says which."""
        try:
            return decode(*self._coded(index))
        except LatentChecksumError as error:
            place = self._file.place_of(index, error.checksum)
            if place is None:
                raise
            raise FormatError(
                f"tiles have changed places: {self._named(place)} stands where {self._named(index)} belongs; fetch the "
                "file again, or encode the picture again"
            ) from None

    def _named(self, index: int) -> str:
        row, column = divmod(index, self._grid.columns)
        return f"the tile of row {row + 1}, column {column + 1}"

    def _coded(self, index: int) -> tuple[CodedLatents, int, int, float, LatentSteering]:
        """What a coder wants of a tile."""
        part, tile = self._grid.tile(index), self._file.tile(index)
        coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
        return coded, part.height, part.width, self._q, self._steering(index)

    def _steering(self, index: int) -> LatentSteering:
        return PLAIN if self._steered is None else self._steered.within(self._grid.tile(index)).latents()


def _joined(parts: list[tuple[Rect, Tensor]], region: Rect, stride: int) -> Tensor:
    """The latents of ``region``, from those of the tiles that it touches."""
    count, goal = STRIDE // stride, region.over(STRIDE)
    first = parts[0][1]
    whole = first.new_empty((1, first.shape[1], goal.height * count, goal.width * count))
    for tile, latent in parts:
        blocks = tile.over(STRIDE)
        shared = blocks.intersection(goal)
        source, target = shared.seen_from(blocks), shared.seen_from(goal)
        inside = latent[:, :, _times(source.rows, count), _times(source.columns, count)]
        whole[:, :, _times(target.rows, count), _times(target.columns, count)] = inside
    return whole


def _times(part: slice, count: int) -> slice:
    return slice(part.start * count, part.stop * count)
