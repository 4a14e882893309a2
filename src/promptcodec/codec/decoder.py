"""Files to pixels: what a codec, a target search and a verification have in common."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from promptcodec.bitstream.container import PtcReader
from promptcodec.bitstream.contents import Q_STEPS, Header, Preview
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.adapters import AdapterLibrary, AttachedAdapters, Request
from promptcodec.codec.backend import Backend
from promptcodec.codec.budget import check_memory, synthesis_halo
from promptcodec.codec.latents import CodedLatents
from promptcodec.codec.tile_latents import PLACE, Coder, DecodedLatents, DecodedTiles, Progress, dequantised
from promptcodec.errors import ModelMismatchError
from promptcodec.model.arrays import Float64s
from promptcodec.model.config import LATENTS_A_SIDE
from promptcodec.picture.alpha import decode_alpha
from promptcodec.picture.picture import Picture
from promptcodec.store.versions import described, remedy
from promptcodec.system.allocator import give_back

_TRIM = 8  # tiles after which what lies free between blocks in use goes back: the heap creeps up otherwise


class Decoder:
    """One model, its entropy coder and its adapters, ready to decode. Its callers enter ``default_settings``."""

    def __init__(self, backend: Backend, coder: Coder, adapters: AdapterLibrary) -> None:
        self.backend, self.coder, self.adapters = backend, coder, adapters

    def decode(
        self, file: PtcReader, request: Request, crop: Rect | None = None, progress: Progress | None = None,
        known: Mapping[int, DecodedLatents] | None = None,
    ) -> Picture:  # fmt: skip
        """Return the picture in a file, or the part ``crop`` of it; ``known``: see ``DecodedTiles``.

        Raises as ``Codec.decode`` does.
        """
        header, metadata, grid = file.header, file.metadata, file.header.grid
        part = grid.whole if crop is None else grid.checked(crop)
        attached = self._opened(file, request)
        if crop is None:
            file.check_tiles()  # before any work
        halo = synthesis_halo(self.backend.hyper.config)
        check_memory(part.height, part.width, grid.largest_region(halo))
        alpha = None
        if metadata.alpha is not None:
            alpha = decode_alpha(metadata.alpha, header.height, header.width)[part.rows, part.columns]
        latents = DecodedTiles(self.coder, file, attached, known)
        rgb = None
        indices = grid.touching(part)
        if len(indices) > 1:
            give_back()
        for done, index in enumerate(indices):
            tile = grid.tile(index)
            region = grid.around(tile, halo)
            y, z = latents.region(region)
            steering = attached.within(region) if attached is not None else None
            pixels = self.backend.synthesise(y, z, steering, region.height, region.width)
            here = tile.intersection(part)
            source, goal = here.seen_from(region), here.seen_from(part)
            pixels = pixels[source.rows, source.columns]
            if header.grey:
                pixels = np.rint(pixels.mean(axis=2, keepdims=True)).astype(np.uint8)
            if rgb is None:  # not before a file has shown that it has something to fill it with
                rgb = np.empty((part.height, part.width, 3), dtype=np.uint8)
            rgb[goal.rows, goal.columns] = pixels
            latents.forget(index, halo)
            if done % _TRIM == _TRIM - 1:
                give_back()
            if progress is not None:
                progress(done + 1, len(indices))
        assert rgb is not None  # no picture is without pixels
        if len(indices) > 1:
            give_back()
        return Picture(rgb=rgb, grey=header.grey, alpha=alpha, icc=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)

    def bit_allocation(self, file: PtcReader, request: Request) -> Float64s:
        """Return where a file's bits go: see ``Codec.bit_allocation``. Raises as ``decode`` does."""
        latents, grid = DecodedTiles(self.coder, file, self._opened(file, request)), file.header.grid
        file.check_tiles()
        rows, columns = (-(-side // PLACE) for side in (grid.height, grid.width))
        bits = np.zeros((rows, columns))
        for index in range(grid.count):
            tile = grid.tile(index)
            z, y = latents.bits(index)
            spread = z.sum(axis=(0, 1)).repeat(LATENTS_A_SIDE, 0).repeat(LATENTS_A_SIDE, 1) / LATENTS_A_SIDE**2
            places = spread + y.sum(axis=(0, 1))
            # What pads a tile to whole blocks costs bits too: they are those of the last places in the picture.
            down, across = (np.arange(count) for count in places.shape)
            last = -(-tile.bottom // PLACE) - 1, -(-tile.right // PLACE) - 1
            where = np.minimum(down + tile.top // PLACE, last[0]), np.minimum(across + tile.left // PLACE, last[1])
            np.add.at(bits, (where[0][:, None], where[1]), places)
        return bits

    def verify(self, file: PtcReader, request: Request) -> None:
        """Do all of ``decode`` that can fail, without the synthesis, and the preview. Raises as ``decode`` does."""
        latents, header, small = DecodedTiles(self.coder, file, self._opened(file, request)), file.header, file.preview
        file.check_tiles()
        check_memory(header.height, header.width, header.grid.largest_region(0))
        if file.metadata.alpha is not None:
            decode_alpha(file.metadata.alpha, header.height, header.width)
        for index in range(header.grid.count):
            latents.check(index)
        if small is not None:
            coded = CodedLatents(small.tile.stream, small.tile.offsets, small.tile.checksum)
            self.coder.verify(coded, small.height, small.width, small.q / Q_STEPS)

    def decode_preview(self, header: Header, preview: Preview) -> Picture:
        """Return the picture in small. Raises as ``decode`` does."""
        self.check_model(header)
        q, tile = preview.q / Q_STEPS, preview.tile
        coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
        z, y_hat = self.coder.decode_both(coded, preview.height, preview.width, q)
        y = dequantised(self.coder, y_hat, q)
        rgb = self.backend.synthesise(y, z.astype(np.float32), None, preview.height, preview.width)
        if header.grey:
            rgb = np.repeat(np.rint(rgb.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        return Picture(rgb, header.grey)

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        if header.probability != self.backend.probability:
            raise ModelMismatchError(
                f"the file was made with {described(header.probability)}, this is {self.backend.name} "
                f"({self.backend.probability.hex()}); {remedy(header.probability, header.pixels)}"
            )

    def _opened(self, file: PtcReader, request: Request) -> AttachedAdapters | None:
        self.check_model(file.header)
        return self.adapters.open(file.adapters, request)


def reader(data: bytes | PtcReader, max_pixels: int | None) -> PtcReader:
    """Return a file in memory, ready to be read. Raises FormatError and LimitError."""
    return data if isinstance(data, PtcReader) else PtcReader(io.BytesIO(data), max_pixels)
