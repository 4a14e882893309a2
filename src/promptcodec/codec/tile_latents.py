"""Latents of tiles: cut out of an analysis that saw more, and decoded with what the tiles around them give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.container import PtcReader
from promptcodec.bitstream.contents import Q_STEPS, Header
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.adapters import AttachedAdapters
from promptcodec.codec.backend import Backend
from promptcodec.codec.budget import analysis_halo
from promptcodec.codec.latents import CodedLatents, LatentChecksumError, LatentCoder
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.errors import FormatError
from promptcodec.model.arrays import Analysis, Float64s, Floats
from promptcodec.model.config import LATENTS_A_SIDE, STRIDE
from promptcodec.model.effort import Effort

PLACE = STRIDE // LATENTS_A_SIDE  # pixels along a side for which one element of y stands

Coder = LatentCoder | OneShotCoder
Progress = Callable[[int, int], None]  # is told how many tiles, or steps of an effort, are done, of how many
DecodedLatents = tuple[Float64s, Float64s]  # ẑ and ŷ as ``Coder.decode_both`` gives them
Result = TypeVar("Result")


def tile_of(latents: Analysis, part: Rect) -> Analysis:
    """Return what of the latents of a region lies in ``part`` of it: whole blocks of 64 pixels."""
    return Analysis(
        cropped(latents.y, part, PLACE), cropped(latents.z, part, STRIDE),
        cropped(latents.keep_y, part, PLACE), cropped(latents.keep_z, part, STRIDE),
    )  # fmt: skip


def analysed_tiles(
    backend: Backend, rgb: NDArray[np.uint8], header: Header, attached: AttachedAdapters | None, effort: Effort,
    progress: Progress | None = None,
) -> Iterator[Analysis]:  # fmt: skip
    """Latents before gains of each of several tiles of a picture (H, W, 3), of analyses that see more than the tile."""
    q, steps = header.q / Q_STEPS, max(effort.steps, 1)
    halo, grid = analysis_halo(backend.hyper.config), header.grid
    for index in range(grid.count):
        tile = grid.tile(index)
        region = grid.around(tile, halo)
        steering = attached.within(region) if attached is not None else None
        report = reporting(progress, index * steps, grid.count * steps)
        seen = backend.analyse(rgb[region.rows, region.columns], q, steering, effort, report)
        yield tile_of(seen, tile.seen_from(region))
        if progress is not None:
            progress((index + 1) * steps, grid.count * steps)


def reporting(progress: Progress | None, done: int, total: int) -> Callable[[], None]:
    """Return a function that tells ``progress`` of one step more at every call."""
    counted = count(done + 1)
    return lambda: progress(min(next(counted), total), total) if progress is not None else None


@overload
def cropped(latent: NDArray[Any], part: Rect, stride: int) -> NDArray[Any]: ...
@overload
def cropped(latent: None, part: Rect, stride: int) -> None: ...


def cropped(latent: NDArray[Any] | None, part: Rect, stride: int) -> NDArray[Any] | None:
    """Cut ``part``, in whole blocks of 64 pixels, out of a latent, or of a mask of one (B, C, h or 1, w or 1)."""
    if latent is None:
        return None
    blocks = part.over(STRIDE)
    count = STRIDE // stride
    rows = slice(blocks.top * count, blocks.bottom * count) if latent.shape[2] > 1 else slice(None)
    columns = slice(blocks.left * count, blocks.right * count) if latent.shape[3] > 1 else slice(None)
    inside = latent[:, :, rows, columns]
    return latent if inside.shape == latent.shape else inside.copy()  # a view would keep all of it


class DecodedTiles:
    """Decoded latents of a file's tiles, each decoded, and checked, when it is first needed."""

    def __init__(
        self, coder: Coder, file: PtcReader, attached: AttachedAdapters | None,
        known: Mapping[int, DecodedLatents] | None = None,
    ) -> None:  # fmt: skip
        """``known``: latents of tiles that need not be decoded."""
        self._coder, self._file, self._whole, self._known = coder, file, attached, known or {}
        self._grid, self._q = file.header.grid, file.header.q / Q_STEPS
        self._decoded: dict[int, tuple[Floats, Floats]] = {}

    def check(self, index: int) -> None:
        """Decode one tile's symbols and keep nothing. Raises FormatError where their checksum is not the file's."""
        self._proven(index, self._coder.verify)

    def bits(self, index: int) -> tuple[Float64s, Float64s]:
        """Bits of one tile's symbols: see ``LatentCoder.bits``. Raises as ``check`` does."""
        return self._proven(index, self._coder.bits)

    def region(self, region: Rect) -> tuple[Floats, Floats]:
        """ŷ (1, M, h/16, w/16) and ẑ (1, N, h/64, w/64) as the synthesis sees them, float32, of a part of the picture.

        Its upper left corner is a multiple of 64 pixels.
        """
        parts = [(self._grid.tile(index), self._tile(index)) for index in self._grid.touching(region)]
        if len(parts) == 1 and parts[0][0] == region:
            return parts[0][1]
        y = _joined([(tile, latents[0]) for tile, latents in parts], region, PLACE)
        return y, _joined([(tile, latents[1]) for tile, latents in parts], region, STRIDE)

    def forget(self, index: int, halo: int) -> None:
        """Drop what no tile after ``index`` needs."""
        following = self._grid.tile(min(index + 1, self._grid.count - 1))
        for other in list(self._decoded):
            tile = self._grid.tile(other)
            above = tile.bottom + halo <= following.top
            passed = tile.bottom <= following.top and tile.right + halo <= following.left
            if above or passed:
                del self._decoded[other]

    def _tile(self, index: int) -> tuple[Floats, Floats]:
        if index not in self._decoded:
            z_hat, y_hat = self._known.get(index) or self._proven(index, self._coder.decode_both)
            y = dequantised(self._coder, y_hat, self._q, self._attached(index))
            self._decoded[index] = y, z_hat.astype(np.float32)
        return self._decoded[index]

    def _proven(self, index: int, decode: Callable[..., Result]) -> Result:
        """Return what ``decode`` makes of a tile; where its checksum is that of another place, the error says which."""
        part, tile = self._grid.tile(index), self._file.tile(index)
        coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
        try:
            return decode(coded, part.height, part.width, self._q, self._attached(index))
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

    def _attached(self, index: int) -> AttachedAdapters | None:
        return None if self._whole is None else self._whole.within(self._grid.tile(index))


def dequantised(coder: Coder, y_hat: Floats, q: float, attached: AttachedAdapters | None = None) -> Floats:
    """Return the decoded, gained latent (1, M, h/16, w/16) as the synthesis sees it, float32."""
    return (y_hat * coder.hyper.gains(q, attached).y_inverse).astype(np.float32)


def _joined(parts: list[tuple[Rect, Floats]], region: Rect, stride: int) -> Floats:
    """Return the latents of ``region``, from those of the tiles that it touches."""
    count, goal = STRIDE // stride, region.over(STRIDE)
    first = parts[0][1]
    whole = np.empty((1, first.shape[1], goal.height * count, goal.width * count), first.dtype)
    for tile, latent in parts:
        blocks = tile.over(STRIDE)
        shared = blocks.intersection(goal)
        source, target = shared.seen_from(blocks), shared.seen_from(goal)
        inside = latent[:, :, _times(source.rows, count), _times(source.columns, count)]
        whole[:, :, _times(target.rows, count), _times(target.columns, count)] = inside
    return whole


def _times(part: slice, count: int) -> slice:
    return slice(part.start * count, part.stop * count)
