"""The codec: pictures to bytes of a .ptc file and back, with one model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.bitstream.container import MAX_PIXELS, PtcReader, pack
from promptcodec.bitstream.contents import Header, Metadata, Preview, PtcFile, Tile
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.adapters import AdapterLibrary, AttachedAdapters, NoAdapters, Request
from promptcodec.codec.backend import Backend
from promptcodec.codec.budget import DEFAULT_MEMORY, analysis_halo, synthesis_halo, tile_size
from promptcodec.codec.goals import goal_of
from promptcodec.codec.latents import CodedLatents, LatentCoder
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.codec.search import Q_STEPS, Target, rate_step, search
from promptcodec.codec.tile_latents import AnalysedTile, Coder, DecodedTiles, Progress, analysed_tiles, dequantised
from promptcodec.errors import ModelMismatchError, PromptcodecError, VerificationError
from promptcodec.model.arrays import Analysis, Floats
from promptcodec.model.config import ContextualMean, Model
from promptcodec.model.effort import Effort, effort_of
from promptcodec.picture.alpha import decode_alpha, encode_alpha
from promptcodec.picture.lossless import lossless_is_smaller
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.srgb import in_srgb
from promptcodec.picture.write import to_pil
from promptcodec.store.versions import described, remedy
from promptcodec.system.allocator import give_back
from promptcodec.system.informing import only_informs
from promptcodec.system.memory import check_memory

if TYPE_CHECKING:
    from promptcodec.picture.read import Source

PREVIEW_SIDE = 256  # pixels of a preview's longer side
PREVIEW_Q = Q_STEPS // 4  # at most


_TRIM = 8  # tiles after which what lies free between blocks in use goes back: the heap creeps up otherwise


class Codec:
    """One model, ready to encode and decode, with the adapters that steer it. Safe to use from several threads."""

    def __init__(self, backend: Backend, adapters: AdapterLibrary | None = None) -> None:
        """``promptcodec.load`` makes both."""
        self.backend = backend
        self.adapters: AdapterLibrary = adapters or NoAdapters()
        contextual = isinstance(self.config.context, ContextualMean)
        self.coder: Coder = OneShotCoder(backend) if contextual else LatentCoder(backend.hyper)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.backend.name

    @property
    def config(self) -> Model:
        """The model's configuration."""
        return self.backend.hyper.config

    @property
    def fingerprint(self) -> str:
        """Identifies the model's weights: what must match to decode, then what decides the pixels."""
        return f"{self.backend.probability.hex()}-{self.backend.pixels.hex()}"

    def encode(
        self,
        image: Source,
        quality: float | None = None,
        *,
        target: Target | None = None,
        adapters: Sequence[Any] = (),
        settings: Mapping[str, float] | None = None,
        roi: Any = None,
        look: float | None = None,
        maps: Mapping[str, Any] | None = None,
        strip: bool = False,
        source_hash: bytes | None = None,
        effort: int | Effort = 0,
        memory: int = DEFAULT_MEMORY,
        preview: bool | None = None,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """A .ptc file of ``image`` (path, file object, bytes, PIL image, NumPy array or tensor).

        ``quality``: 0 (smallest) to 100 (best), 50 by default; or a ``target``, whose quality is searched: the picture
        is analysed once. ``strip`` leaves out EXIF and XMP; ``source_hash`` (8 bytes) is stored for programs that
        compare.

        ``adapters``: files, or names of those in the package, in the order in which they act; what no given adapter
        takes goes to one of the package that does. ``settings``: scalars by name, in [0, 1]; ``look`` is the one of
        that name. ``maps``: maps by name, each a grey picture or array (H, W) of any size, ``x,y,w,h`` in pixels, a
        number for everywhere, or a tensor (1, 1, H, W) in [0, 1]; ``roi``, what matters most, is the one of that name.
        A ``target`` is searched with the base's rate, and the settings as they are given.

        ``effort``: 0 to 10, how much time may be spent for a smaller file, see ``Effort``; a target is searched without
        it first, then the quality is corrected. Pictures whose networks would take more than ``memory`` bytes at once,
        which an effort's take sooner, are divided into tiles. ``preview`` stores the picture in small as well; by
        default where there are tiles. ``verify`` decodes the file's latents before it is returned, for a part of the
        encode's time, and compares them with what was coded. ``progress`` is told the tiles that are done, and how many
        there are; with an effort its steps.
        Warns where a lossless PNG would be smaller.
        Raises ImageError, LimitError, UsageError, TargetError for targets out of this picture's range, and
        VerificationError.
        """
        request, effort = Request.of(adapters, settings, roi, look, maps), effort_of(effort)
        with self.backend.default_settings():
            picture = read(image)
            q = rate_step(self.config, quality, target)
            data = self._encoded(picture, q, target, request, strip, source_hash, effort, memory, preview, progress)
            if verify:
                self._verify_encoded(data, request)
        with only_informs("comparing with a lossless PNG"):
            if lossless_is_smaller(picture, len(data)):
                warnings.warn(
                    "a lossless PNG of this picture would be smaller; this codec is made for photos", stacklevel=2
                )
        return data

    def _encoded(
        self, picture: Picture, q: int, target: Target | None, request: Request, strip: bool,
        source_hash: bytes | None, effort: Effort, memory: int, preview: bool | None, progress: Progress | None,
    ) -> bytes:  # fmt: skip
        height, width = picture.rgb.shape[:2]
        tile_height, tile_width = tile_size(height, width, self.config, memory, effort.level > 0)
        plain = Header(
            width=width, height=height, grey=picture.grey, alpha=picture.alpha is not None,
            probability=self.backend.probability, pixels=self.backend.pixels, q=q, tile_width=tile_width,
            tile_height=tile_height,
        )  # fmt: skip
        check_memory(height, width, plain.grid.largest_region(analysis_halo(self.config)))
        attached = self.adapters.attach(request, picture.rgb, q / Q_STEPS, effort)
        records = attached.records if attached is not None else ()
        metadata = Metadata(
            icc=picture.icc, exif=None if strip else picture.exif, xmp=None if strip else picture.xmp,
            alpha=None if picture.alpha is None else encode_alpha(picture.alpha), source_hash=source_hash,
        )  # fmt: skip
        preview_needed = plain.grid.count > 1 if preview is None else preview
        small = self._preview(picture, q) if preview_needed else None

        def file_of(analysed: Iterable[AnalysedTile], q: int) -> bytes:
            coded = (self.coder.encode(part.latents, q / Q_STEPS, part.attached) for part in analysed)
            tiles = tuple(Tile(latents.checksum, latents.offsets, latents.stream) for latents in coded)
            return pack(PtcFile(replace(plain, q=q), tiles, metadata, records, small))

        def refined(q: int) -> bytes:  # of a tile at a time: its latents are needed once
            return file_of(
                analysed_tiles(self.backend, picture.rgb, replace(plain, q=q), attached, effort, progress), q
            )

        if target is None:
            return refined(q)
        decode_request = Request(request.adapters)
        goal = goal_of(target, picture, lambda data: self._decoded(_reader(data, None), decode_request))
        report = progress if effort.level == 0 else None
        analysed = list(analysed_tiles(self.backend, picture.rgb, plain, attached, Effort(0), report))
        further = refined if effort.level else None
        return search(lambda q: file_of(analysed, q), *goal, Q_STEPS, further)

    def decode(
        self,
        data: bytes | PtcReader,
        *,
        adapters: Sequence[Any] = (),
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Image.Image:
        """The picture in a .ptc file, as a PIL image with its metadata.

        ``adapters``: files, for pictures that need others than those of the package. ``settings`` and ``look`` set anew
        what an adapter of the file leaves to the decoder; a setting that no adapter of the file takes attaches one that
        acts in the decoder alone. ``max_pixels``: larger pictures are refused; None trusts the file. ``crop``: only
        this part, of whose tiles and their neighbours alone the latents are decoded. ``progress`` is told the tiles
        that are done, and how many there are.

        Raises FormatError for damaged files, ModelMismatchError for files of another model and where an adapter is
        missing, LimitError, and UsageError for a crop that is not inside the picture, and for settings that are fixed
        in the file or that no adapter takes.
        """
        return to_pil(
            self.decode_picture(
                data, adapters=adapters, settings=settings, look=look, max_pixels=max_pixels, crop=crop,
                progress=progress,
            )
        )  # fmt: skip

    def decode_picture(
        self,
        data: bytes | PtcReader,
        *,
        adapters: Sequence[Any] = (),
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Picture:
        """As ``decode``, but a ``Picture``."""
        request = Request.of(adapters, settings, look=look)
        with self.backend.default_settings():
            return self._decoded(_reader(data, max_pixels), request, crop, progress)

    def _decoded(
        self, file: PtcReader, request: Request, crop: Rect | None = None, progress: Progress | None = None
    ) -> Picture:
        header, metadata, grid = file.header, file.metadata, file.header.grid
        part = grid.whole if crop is None else grid.checked(crop)
        attached = self._opened(file, request)
        if crop is None:
            file.check_tiles()  # before any work
        halo = synthesis_halo(self.config)
        check_memory(part.height, part.width, grid.largest_region(halo))
        alpha = None
        if metadata.alpha is not None:
            alpha = decode_alpha(metadata.alpha, header.height, header.width)[part.rows, part.columns]
        latents = DecodedTiles(self.coder, file, attached)
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

    def verify(
        self, data: bytes | PtcReader, *, adapters: Sequence[Any] = (), max_pixels: int | None = MAX_PIXELS
    ) -> None:
        """All of ``decode_picture`` that can fail, without the synthesis: no pixels are made. Raises as it does.

        The preview is checked as well, which ``decode_picture`` does not look at.
        """
        with self.backend.default_settings():
            self._verify(_reader(data, max_pixels), Request(tuple(adapters)))

    def _verify(self, file: PtcReader, request: Request) -> None:
        latents, header, small = DecodedTiles(self.coder, file, self._opened(file, request)), file.header, file.preview
        file.check_tiles()
        check_memory(header.height, header.width, header.grid.largest_region(0))
        if file.metadata.alpha is not None:
            decode_alpha(file.metadata.alpha, header.height, header.width)
        for index in range(header.grid.count):
            latents.check(index)
        if small is not None:
            self.coder.verify(_coded(small.tile), small.height, small.width, small.q / Q_STEPS)

    def _verify_encoded(self, data: bytes, request: Request) -> None:
        """Raise VerificationError where a file that was just made does not give the integers that were coded."""
        try:
            self.verify(data, adapters=request.adapters, max_pixels=None)
        except PromptcodecError as error:
            raise VerificationError(
                f"the file does not decode to what was encoded, and is not kept: {error}; encode the picture again, "
                "and check the machine's memory if it happens twice"
            ) from error

    def decode_preview(self, header: Header, preview: Preview) -> Picture:
        """The picture in small. Raises as ``decode`` does."""
        self.check_model(header)
        q = preview.q / Q_STEPS
        with self.backend.default_settings():
            z, y_hat = self.coder.decode_both(_coded(preview.tile), preview.height, preview.width, q)
            y = dequantised(self.coder, y_hat, q)
            rgb = self.backend.synthesise(y, z.astype(np.float32), None, preview.height, preview.width)
        if header.grey:
            rgb = np.repeat(np.rint(rgb.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        return Picture(rgb, header.grey)

    def _opened(self, file: PtcReader, request: Request) -> AttachedAdapters | None:
        self.check_model(file.header)
        return self.adapters.open(file.adapters, request)

    def _preview(self, picture: Picture, q: int) -> Preview:
        give_back()
        image = Image.fromarray(picture.rgb)
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), reducing_gap=2.0)
        q = min(q, PREVIEW_Q)
        # A preview stands in front of the file's profile and is shown without it.
        shown = in_srgb(Picture(np.asarray(image), picture.grey, icc=picture.icc)).rgb
        coded = self.coder.encode(self._analysis(shown), q / Q_STEPS)
        return Preview(image.width, image.height, q, Tile(coded.checksum, coded.offsets, coded.stream))

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        if header.probability != self.backend.probability:
            raise ModelMismatchError(
                f"the file was made with {described(header.probability)}, this is {self.name} "
                f"({self.backend.probability.hex()}); {remedy(header.probability, header.pixels)}"
            )

    def analyse(self, rgb: NDArray[np.uint8]) -> Analysis:
        """Latents, before gains, of uint8 pixels (H, W, 3)."""
        with self.backend.default_settings():
            return self._analysis(rgb)

    def _analysis(self, rgb: NDArray[np.uint8]) -> Analysis:
        return self.backend.analyse(rgb, 0.0, None, Effort(0), lambda: None)

    def synthesise(self, y_hat: Floats, z_hat: Floats, height: int, width: int, q: float) -> NDArray[np.uint8]:
        """uint8 pixels (height, width, 3) of what ``coder.decode_both`` gives."""
        with self.backend.default_settings():
            y = dequantised(self.coder, y_hat, q)
            return self.backend.synthesise(y, z_hat.astype(np.float32), None, height, width)


def _reader(data: bytes | PtcReader, max_pixels: int | None) -> PtcReader:
    return data if isinstance(data, PtcReader) else PtcReader(io.BytesIO(data), max_pixels)


def _coded(tile: Tile) -> CodedLatents:
    return CodedLatents(tile.stream, tile.offsets, tile.checksum)
