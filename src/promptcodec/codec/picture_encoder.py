"""Pixels to files: one picture, encoded once or again and again."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from PIL import Image

from promptcodec.bitstream.container import pack
from promptcodec.bitstream.contents import Q_STEPS, Header, Metadata, Preview, PtcFile, Tile
from promptcodec.codec.adapters import AdapterSource, AttachedAdapters, Request
from promptcodec.codec.budget import DEFAULT_MEMORY, analysis_halo, check_memory, tile_size
from promptcodec.codec.decoder import Decoder, reader
from promptcodec.codec.file_rate import FileRate
from promptcodec.codec.goals import goal_of
from promptcodec.codec.search import Target, search
from promptcodec.codec.tile_latents import DecodedLatents, Progress, analysed_tiles, reporting
from promptcodec.errors import PromptcodecError, VerificationError
from promptcodec.model.arrays import Analysis
from promptcodec.model.effort import NO_EFFORT, Effort
from promptcodec.picture.alpha import encode_alpha
from promptcodec.picture.lossless import lossless_size
from promptcodec.picture.picture import Picture
from promptcodec.picture.srgb import in_srgb
from promptcodec.system.allocator import give_back
from promptcodec.system.informing import warn_of_failure

PREVIEW_SIDE = 256  # pixels of a preview's longer side
PREVIEW_Q = Q_STEPS // 4  # at most


@dataclass(frozen=True)
class FileOptions:
    """What of a file is no matter of rate, quality or steering; see ``Codec.encode``."""

    strip: bool = False
    source_hash: bytes | None = None
    preview: bool | None = None
    verify: bool = False


@dataclass
class KeptLatents:
    """Latents of all tiles before gains, from the latest analysis, with what that analysis depended on."""

    latest: tuple[Hashable, tuple[Analysis, ...]] | None = None

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return 0 if self.latest is None else sum(latents.nbytes for latents in self.latest[1])


class FileMaker:
    """Makes the files of one call, which differ in rate and in what adapters signal of it, and decodes them again."""

    def __init__(
        self, decoder: Decoder, header: Header, metadata: Metadata, preview: Preview | None,
        adapters: tuple[AdapterSource, ...],
    ) -> None:  # fmt: skip
        """``adapters``: those that the user named."""
        self._decoder, self._header = decoder, header
        self._metadata, self._preview, self._adapters = metadata, preview, adapters
        self._latest: tuple[bytes, DecodedLatents] | None = None

    def encode(self, latents: Iterable[Analysis], q: int, attached: AttachedAdapters | None) -> bytes:
        """Return the file of latents before gains, a tile each."""
        tiles, steering = [], attached
        for index, analysis in enumerate(latents):
            if attached is not None and self._header.tile_width:
                steering = attached.within(self._header.grid.tile(index))
            quantised = self._decoder.coder.quantise(analysis, q / Q_STEPS, steering)
            coded = quantised.coded()
            tiles.append(Tile(coded.checksum, coded.offsets, coded.stream))
        records = attached.records if attached is not None else ()
        data = pack(PtcFile(replace(self._header, q=q), tuple(tiles), self._metadata, records, self._preview))
        # Of a picture in tiles they may take more memory than a tile's networks.
        self._latest = (data, quantised.decoded) if len(tiles) == 1 else None
        return data

    def decode(self, data: bytes) -> Picture:
        """Return what ``Codec.decode_picture`` makes of a file; of the latest one without decoding its stream."""
        known = None
        if self._latest is not None and self._latest[0] is data:
            known = {0: self._latest[1]}
        return self._decoder.decode(reader(data, None), Request(self._adapters), known=known)


class PictureEncoder:
    """One picture, and what follows from it alone: made when it is first needed, then kept.

    Its callers enter ``default_settings``.
    """

    def __init__(self, decoder: Decoder, picture: Picture, memory: int = DEFAULT_MEMORY) -> None:
        """``memory``: bytes that the networks may take for one tile; see ``Codec.encode``."""
        self.picture, self.memory = picture, memory
        self._decoder, self._backend, self._coder = decoder, decoder.backend, decoder.coder
        self.default_settings = decoder.backend.default_settings

    def encode(
        self, request: Request, quality: float | None, target: Target | None, effort: Effort, options: FileOptions,
        progress: Progress | None = None, kept: KeptLatents | None = None,
    ) -> bytes:  # fmt: skip
        """Return a .ptc file. Raises and warns as ``Codec.encode`` does.

        ``kept``: latents of an earlier call, which take the analysis's place where it would give them again, and which
        are replaced where it would not. Without an effort only: that refines latents for one rate.
        """
        data, _ = self._encoded(request, quality, target, effort, options, progress, kept)
        self._compare_with_lossless(data)
        return data

    def encode_and_decode(
        self, request: Request, quality: float | None, target: Target | None, effort: Effort, options: FileOptions,
        progress: Progress | None = None, kept: KeptLatents | None = None,
    ) -> tuple[bytes, Picture]:  # fmt: skip
        """As ``encode``, and what the file decodes to."""
        data, files = self._encoded(request, quality, target, effort, options, progress, kept)
        decoded = files.decode(data)
        self._compare_with_lossless(data)
        return data, decoded

    def with_maps_read(self, request: Request) -> Request:
        """Return a request for many calls of ``encode``, whose maps are read once. Raises UsageError and ImageError."""
        return self._decoder.adapters.with_maps_read(request, *self.picture.rgb.shape[:2])

    def analyse(
        self, request: Request, progress: Progress | None = None, earlier: KeptLatents | None = None
    ) -> KeptLatents:
        """Latents for ``encode`` without an effort, at any rate, or at quality 50 alone if an adapter in the analysis
        carries the rate; those of ``earlier`` if they are the same.

        Raises as ``encode`` does.
        """
        kept = KeptLatents(earlier.latest if earlier is not None else None)
        rate = self._rate(request)
        attached = self._attached(rate.steering(request, rate.position(None, None)), 0, NO_EFFORT)
        self._latents(self._header(0, NO_EFFORT), attached, NO_EFFORT, progress, kept)
        return kept

    def keeping(self, latents: Analysis) -> KeptLatents:
        """Return what ``encode`` takes for kept, of a picture in one tile that was analysed elsewhere, unsteered."""
        header = self._header(0, Effort(0))
        return KeptLatents(((header.tile_height, header.tile_width, ()), (latents,)))

    @property
    def nbytes(self) -> int:
        """Memory in bytes of the picture and of what was made from it."""
        picture = self.picture
        parts = (picture.icc, picture.exif, picture.xmp, self.__dict__.get("_alpha"))
        planes = (picture.rgb, picture.alpha)
        small = self.__dict__["_small"][1].nbytes if "_small" in self.__dict__ else 0
        return small + sum(len(part or b"") for part in parts) + sum(p.nbytes for p in planes if p is not None)

    def _encoded(
        self, request: Request, quality: float | None, target: Target | None, effort: Effort, options: FileOptions,
        progress: Progress | None, kept: KeptLatents | None,
    ) -> tuple[bytes, FileMaker]:  # fmt: skip
        picture = self.picture
        rate = self._rate(request)
        first = rate.position(quality, target)
        if rate.carried and target is not None:
            request = self.with_maps_read(request)
        q = rate.step(first)
        plain = self._header(q, effort)
        steady = None if rate.carried else self._attached(request, q, effort)
        metadata = Metadata(
            icc=picture.icc, exif=None if options.strip else picture.exif, xmp=None if options.strip else picture.xmp,
            alpha=self._alpha, source_hash=options.source_hash,
        )  # fmt: skip
        needs_preview = plain.tile_width > 0 if options.preview is None else options.preview
        preview = self._preview(q) if needs_preview else None
        files = FileMaker(self._decoder, plain, metadata, preview, request.adapters)
        keeping = kept or KeptLatents()  # a search needs them again and again
        reports = iter([progress if effort.level == 0 else None])  # of one analysis, or of the refinement

        def attached_at(position: int) -> AttachedAdapters | None:
            return self._attached(rate.steering(request, position), q, effort) if rate.carried else steady

        def refined(position: int) -> bytes:  # of a tile at a time: its latents are needed once
            attached, step = attached_at(position), rate.step(position)
            return files.encode(self._latents(replace(plain, q=step), attached, effort, progress), step, attached)

        def trial(position: int) -> bytes:
            attached = attached_at(position)
            latents = self._latents(plain, attached, NO_EFFORT, next(reports, None), keeping)
            return files.encode(latents, rate.step(position), attached)

        if target is not None:
            goal = goal_of(target, picture, files.decode)
            data = search(trial, *goal, Q_STEPS, refined if effort.level else None)
        else:
            data = refined(first) if kept is None or effort.level else trial(first)
        if options.verify:
            self._verify(data, request)
        return data, files

    def _header(self, q: int, effort: Effort) -> Header:
        picture, config = self.picture, self._backend.hyper.config
        height, width = picture.rgb.shape[:2]
        tile_height, tile_width = tile_size(height, width, config, self.memory, effort.level > 0)
        header = Header(
            width=width, height=height, grey=picture.grey, alpha=picture.alpha is not None,
            probability=self._backend.probability, pixels=self._backend.pixels, q=q, tile_width=tile_width,
            tile_height=tile_height,
        )  # fmt: skip
        largest = header.grid.largest_region(analysis_halo(config)) if tile_width else height * width
        check_memory(height, width, largest)
        return header

    def _rate(self, request: Request) -> FileRate:
        return FileRate.of(self._backend.hyper.config, self._decoder.adapters, request)

    def _attached(self, request: Request, q: int, effort: Effort) -> AttachedAdapters | None:
        return self._decoder.adapters.attach(request, self.picture.rgb, q / Q_STEPS, effort) if request else None

    def _latents(
        self, header: Header, attached: AttachedAdapters | None, effort: Effort, progress: Progress | None,
        kept: KeptLatents | None = None,
    ) -> Iterable[Analysis]:  # fmt: skip
        """Latents of each tile: those that are ``kept``, or of an analysis, as they are asked for where none is."""
        if header.tile_width:
            analysed = analysed_tiles(self._backend, self.picture.rgb, header, attached, effort, progress)
        else:
            analysed = self._analysed(header.q, attached, effort, progress)
        if kept is None:
            return analysed
        key = header.tile_height, header.tile_width, attached.analysis_key if attached is not None else ()
        latest = kept.latest
        if latest is not None and latest[0] == key:
            if progress is not None:
                progress(header.grid.count, header.grid.count)
            return latest[1]
        latents = tuple(analysed)
        kept.latest = key, latents  # which another thread may replace at once
        return latents

    def _analysed(
        self, q: int, attached: AttachedAdapters | None, effort: Effort, progress: Progress | None
    ) -> Iterator[Analysis]:
        """Latents of the picture as one tile: there is nothing around it, and nothing to be cut out."""
        rgb, rate = self.picture.rgb, q / Q_STEPS
        if progress is None:
            yield self._backend.analyse(rgb, rate, attached, effort, lambda: None)
            return
        steps = max(effort.steps, 1)
        yield self._backend.analyse(rgb, rate, attached, effort, reporting(progress, 0, steps))
        progress(steps, steps)

    def _verify(self, data: bytes, request: Request) -> None:
        """Raise VerificationError where a file that was just made does not give the integers that were coded."""
        try:
            self._decoder.verify(reader(data, None), Request(request.adapters))
        except PromptcodecError as error:
            raise VerificationError(
                f"the file does not decode to what was encoded, and is not kept: {error}; encode the picture again, "
                "and check the machine's memory if it happens twice"
            ) from error

    def _preview(self, q: int) -> Preview:
        image, analysis = self._small
        q = min(q, PREVIEW_Q)
        coded = self._coder.encode(analysis, q / Q_STEPS)
        return Preview(image.width, image.height, q, Tile(coded.checksum, coded.offsets, coded.stream))

    @cached_property
    def _small(self) -> tuple[Image.Image, Analysis]:
        """A preview's picture, and its latents."""
        give_back()
        picture = self.picture
        image = Image.fromarray(picture.rgb)
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), reducing_gap=2.0)
        # A preview stands in front of the file's profile and is shown without it.
        shown = in_srgb(Picture(np.asarray(image), picture.grey, icc=picture.icc)).rgb
        return image, self._backend.analyse(shown, 0.0, None, NO_EFFORT, lambda: None)

    @cached_property
    def _alpha(self) -> bytes | None:
        return None if self.picture.alpha is None else encode_alpha(self.picture.alpha)

    def _compare_with_lossless(self, data: bytes) -> None:
        """Warn where a PNG would be smaller."""
        try:
            if self._lossless_size is not None and self._lossless_size < len(data):
                warnings.warn(
                    "a lossless PNG of this picture would be smaller; this codec is made for photos", stacklevel=4
                )
        except Exception as error:
            warn_of_failure("comparing with a lossless PNG", error)

    @cached_property
    def _lossless_size(self) -> int | None:
        return lossless_size(self.picture)
