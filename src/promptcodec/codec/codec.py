"""The codec: pictures to bytes of a .ptc file and back, with one model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from promptcodec.bitstream.container import MAX_PIXELS, Header, Metadata, Preview, PtcFile, PtcReader, Tile, pack
from promptcodec.bitstream.tiling import Grid, Rect
from promptcodec.codec.budget import DEFAULT_MEMORY, analysis_halo, synthesis_halo, tile_size
from promptcodec.codec.effort import Effort, effort_of
from promptcodec.codec.goals import goal_of
from promptcodec.codec.latents import LATENTS_A_SIDE, CodedLatents, LatentCoder
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.codec.search import Target, search
from promptcodec.codec.tile_latents import Analysed, DecodedTiles, cropped
from promptcodec.errors import ModelMismatchError, UnfitError, UsageError
from promptcodec.informing import only_informs
from promptcodec.model import config
from promptcodec.model.base import STRIDE
from promptcodec.model.inference.exact_hyper import PLAIN, LatentSteering
from promptcodec.model.inference.precision import Precision, autocast_pays
from promptcodec.model.layers.transforms import pad_to_multiple
from promptcodec.model.steering import Constant, Decoded, Steerer, Steering
from promptcodec.picture.alpha import decode_alpha, encode_alpha
from promptcodec.picture.lossless import lossless_is_smaller
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.write import to_pil
from promptcodec.store.model_file import StoredModel
from promptcodec.store.shipped import model_for
from promptcodec.store.versions import described
from promptcodec.system.allocator import give_back
from promptcodec.system.memory import check_memory

if TYPE_CHECKING:
    from promptcodec.codec.steered import Opener, Steered
    from promptcodec.picture.read import Source

DEFAULT_QUALITY = 50.0
Q_STEPS = 2**16 - 1
PREVIEW_SIDE = 256  # pixels of a preview's longer side
PREVIEW_Q = Q_STEPS // 4  # at most

Progress = Callable[[int, int], None]  # is told how many tiles, or steps of an effort, are done, of how many

_TRIM = 8  # tiles after which what lies free between blocks in use goes back: the heap creeps up otherwise


class Codec:
    """One model, ready to encode and decode on one device. Safe to use from several threads."""

    def __init__(
        self, model: StoredModel, device: str | torch.device = "cpu", precision: Precision = "float32"
    ) -> None:
        """``precision``: of analysis and synthesis; "auto" takes bfloat16 where this machine is quicker with it, which
        moves pixels by a level at most, hardly any by two. What decides probabilities is float64 always."""
        self.model = model
        self.network = model.network
        self.device = torch.device(device)
        self.bfloat16, _ = autocast_pays(precision, self.device)
        contextual = isinstance(model.network.config.context, config.ContextualMean)
        self.coder = OneShotCoder(model, self.device) if contextual else LatentCoder(model)

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    @property
    def fingerprint(self) -> str:
        """Identifies the model's weights: what must match to decode, then what decides the pixels."""
        return self.model.fingerprint

    def encode(
        self,
        image: Source,
        quality: float | None = None,
        *,
        target: Target | None = None,
        strip: bool = False,
        source_hash: bytes | None = None,
        steered: Callable[[np.ndarray, float], Steered] | None = None,
        opener: Opener | None = None,
        effort: int | Effort = 0,
        memory: int = DEFAULT_MEMORY,
        preview: bool | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """A .ptc file of ``image`` (path, file object, bytes, PIL image, NumPy array or tensor).

        ``quality``: 0 (smallest) to 100 (best), 50 by default; or a ``target``, whose quality is searched: the picture
        is analysed once. ``strip`` leaves out EXIF and XMP; ``source_hash`` (8 bytes) is stored for programs that
        compare. ``steered`` attaches adapters for a picture (H, W, 3) at a rate in [0, 1], and ``opener`` those that
        a file names, for targets of quality; ``promptcodec.steer.files`` makes both. ``effort``: 0 to 10, how much
        time may be spent for a smaller file, see ``Effort``; a target is searched without it first, then the quality
        is corrected. Pictures whose networks would take more than ``memory`` bytes at once, which an effort's take
        sooner, are divided into tiles. ``preview`` stores the picture in small as well; by default where there are
        tiles. ``progress`` is told the tiles that are done, and how many there are; with an effort its steps.
        Warns where a lossless PNG would be smaller.
        Raises ImageError, LimitError, UsageError, and TargetError for targets out of this picture's range.
        """
        picture = read(image)
        height, width = picture.rgb.shape[:2]
        q = self._rate_step(quality, target)
        effort = effort_of(effort)
        tile_height, tile_width = tile_size(height, width, self.network.config, memory, effort.level > 0)
        plain = Header(
            width=width, height=height, grey=picture.grey, alpha=picture.alpha is not None,
            probability=self.model.probability, pixels=self.model.pixels, q=q, tile_width=tile_width,
            tile_height=tile_height,
        )  # fmt: skip
        check_memory(height, width, _largest_region(plain.grid, analysis_halo(self.network.config)))
        attached = steered(picture.rgb, q / Q_STEPS) if steered is not None else None
        records = attached.records if attached is not None else ()
        metadata = Metadata(
            icc=picture.icc, exif=None if strip else picture.exif, xmp=None if strip else picture.xmp,
            alpha=None if picture.alpha is None else encode_alpha(picture.alpha), source_hash=source_hash,
        )  # fmt: skip
        wanted = plain.grid.count > 1 if preview is None else preview
        small = self._preview(picture, q) if wanted else None

        def file_of(analysed: Iterable[Analysed], q: int) -> bytes:
            coded = (self.coder.encode(part.y, part.z, q / Q_STEPS, part.steering) for part in analysed)
            tiles = tuple(Tile(latents.checksum, latents.offsets, latents.stream) for latents in coded)
            return pack(PtcFile(replace(plain, q=q), tiles, metadata, records, small))

        def refined(q: int) -> bytes:  # of a tile at a time: its latents are needed once
            return file_of(self._analysed(picture.rgb, replace(plain, q=q), attached, effort, progress), q)

        if target is None:
            data = refined(q)
        else:
            goal = goal_of(target, picture, lambda data: self.decode_picture(data, opener))
            told = progress if effort.level == 0 else None
            analysed = list(self._analysed(picture.rgb, plain, attached, Effort(0), told))
            further = refined if effort.level else None
            data = search(lambda q: file_of(analysed, q), *goal, Q_STEPS, further)
        with only_informs("comparing with a lossless PNG"):
            if lossless_is_smaller(picture, len(data)):
                warnings.warn(
                    "a lossless PNG of this picture would be smaller; this codec is made for photos", stacklevel=2
                )
        return data

    def decode(
        self,
        data: bytes | PtcReader,
        *,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Image.Image:
        """The picture in a .ptc file, as a PIL image with its metadata.

        ``max_pixels``: larger pictures are refused; None trusts the file. ``crop``: only this part, of whose tiles and
        their neighbours alone the latents are decoded. ``progress`` is told the tiles that are done, and how many there
        are. Raises FormatError for damaged files, ModelMismatchError for files of another model, LimitError, and
        UsageError for a crop that is not inside the picture.
        """
        return to_pil(self.decode_picture(data, max_pixels=max_pixels, crop=crop, progress=progress))

    def decode_picture(
        self,
        data: bytes | PtcReader,
        opener: Opener | None = None,
        *,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Picture:
        """As ``decode``, but a ``Picture``. ``opener`` attaches the adapters that the file names, by default those of
        the package."""
        file = data if isinstance(data, PtcReader) else PtcReader(io.BytesIO(data), max_pixels)
        header, metadata, grid = file.header, file.metadata, file.header.grid
        part = _checked(crop, grid) if crop is not None else grid.whole
        attached = self._attached(file, opener)
        if crop is None:
            file.check_tiles()  # before any work
        halo = synthesis_halo(self.network.config)
        check_memory(part.height, part.width, _largest_region(grid, halo))
        alpha = None
        if metadata.alpha is not None:
            alpha = decode_alpha(metadata.alpha, header.height, header.width)[part.rows, part.columns]
        latents = DecodedTiles(self, file, attached)
        rgb = None
        wanted = grid.touching(part)
        if len(wanted) > 1:
            give_back()
        for done, index in enumerate(wanted):
            tile = grid.tile(index)
            region = grid.around(tile, halo)
            y, z = latents.region(region)
            steered = attached.within(region) if attached is not None else None
            pixels = self._synthesise(y, region.height, region.width, steered, z)
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
                progress(done + 1, len(wanted))
        assert rgb is not None  # no picture is without pixels
        if len(wanted) > 1:
            give_back()
        return Picture(rgb=rgb, grey=header.grey, alpha=alpha, icc=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)

    def verify(
        self, data: bytes | PtcReader, opener: Opener | None = None, *, max_pixels: int | None = MAX_PIXELS
    ) -> None:
        """All of ``decode_picture`` that can fail, without the synthesis: no pixels are made. Raises as it does.

        The preview is checked as well, which ``decode_picture`` does not look at.
        """
        file = data if isinstance(data, PtcReader) else PtcReader(io.BytesIO(data), max_pixels)
        latents, header, small = DecodedTiles(self, file, self._attached(file, opener)), file.header, file.preview
        file.check_tiles()
        check_memory(header.height, header.width, _largest_region(header.grid, 0))
        if file.metadata.alpha is not None:
            decode_alpha(file.metadata.alpha, header.height, header.width)
        for index in range(header.grid.count):
            latents.check(index)
        if small is not None:
            self.coder.verify(_coded(small.tile), small.height, small.width, small.q / Q_STEPS)

    def decode_preview(self, header: Header, preview: Preview) -> Picture:
        """The picture in small. Raises as ``decode`` does."""
        self.check_model(header)
        q = preview.q / Q_STEPS
        _, y_hat = self.coder.decode_both(_coded(preview.tile), preview.height, preview.width, q)
        rgb = self.synthesise(y_hat, preview.height, preview.width, q)
        if header.grey:
            rgb = np.repeat(np.rint(rgb.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        return Picture(rgb, header.grey)

    def _attached(self, file: PtcReader, opener: Opener | None) -> Steered | None:
        self.check_model(file.header)
        if opener is None and not file.adapters:
            return None
        return (opener or self._shipped_opener)(file.adapters)

    @cached_property
    def _shipped_opener(self) -> Opener:
        """Attaches adapters of the package."""
        from promptcodec.steer.files import SteeredCodec  # which is built on this class

        return SteeredCodec(self, ()).open

    def _preview(self, picture: Picture, q: int) -> Preview:
        give_back()
        image = Image.fromarray(picture.rgb)
        image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), reducing_gap=2.0)
        y, z = self.analyse(np.asarray(image))
        q = min(q, PREVIEW_Q)
        coded = self.coder.encode(y, z, q / Q_STEPS)
        return Preview(image.width, image.height, q, Tile(coded.checksum, coded.offsets, coded.stream))

    def _analysed(
        self, rgb: np.ndarray, header: Header, steered: Steered | None, effort: Effort, progress: Progress | None
    ) -> Iterator[Analysed]:
        """The tiles' own latents, of analyses that see more of the picture than the tile."""
        halo, grid, q = analysis_halo(self.network.config), header.grid, header.q / Q_STEPS
        steps = max(effort.steps, 1)
        for index in range(grid.count):
            tile = grid.tile(index)
            region = grid.around(tile, halo)
            own = (steered.within(region) if steered is not None else None) or Constant()
            report = _reporting(progress, index * steps, grid.count * steps)
            y, z, steer = self._analyse(rgb[region.rows, region.columns], own, effort, q, report)
            here = tile.seen_from(region)
            steer = replace(
                steer, keep_y=cropped(steer.keep_y, here, STRIDE // LATENTS_A_SIDE),
                keep_z=cropped(steer.keep_z, here, STRIDE),
            )  # fmt: skip
            latents = steered.within(tile).latents(steer) if steered is not None else PLAIN
            yield Analysed(cropped(y, here, STRIDE // LATENTS_A_SIDE), cropped(z, here, STRIDE), latents)
            if progress is not None:
                progress((index + 1) * steps, grid.count * steps)

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        if header.probability != self.model.probability:
            raise ModelMismatchError(
                f"the file was made with {described(header.probability)}, this is {self.name} "
                f"({self.model.probability.hex()}); {_remedy(header)}"
            )

    def analyse(self, rgb: np.ndarray) -> tuple[Tensor, Tensor]:
        """Latents y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of uint8 pixels (H, W, 3)."""
        y, z, _ = self._analyse(rgb, Constant())
        return y, z

    @torch.inference_mode()
    def _analyse(
        self,
        rgb: np.ndarray,
        steerer: Steerer,
        effort: Effort | None = None,
        q: float = 0.0,
        report: Callable[[], None] = lambda: None,
    ) -> tuple[Tensor, Tensor, Steering]:
        pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(self.device)
        x = pixels.permute(2, 0, 1)[None].float() / 255
        if effort is not None and effort.level:
            return effort(self.network, x, q, steerer, report)
        x = pad_to_multiple(x, STRIDE).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.network.analyse(x, steerer)

    def dequantised(self, y_hat: Tensor, q: float, steering: LatentSteering = PLAIN) -> Tensor:
        """The decoded, gained latent (1, M, h/16, w/16) as the synthesis sees it, float32."""
        return (y_hat * self.coder.hyper.gains(q, steering).y_inverse).float()

    def synthesise(self, y_hat: Tensor, height: int, width: int, q: float) -> np.ndarray:
        """uint8 pixels (height, width, 3) of the decoded, gained latent (1, M, h/16, w/16)."""
        return self._synthesise(self.dequantised(y_hat, q), height, width)

    @torch.inference_mode()
    def _synthesise(
        self, y: Tensor, height: int, width: int, steered: Steered | None = None, z_hat: Tensor | None = None
    ) -> np.ndarray:
        y = y.to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            steer = None
            if steered is not None and z_hat is not None:
                steer = steered.for_decoder(Decoded(z_hat.float().to(self.device), y)).within("g_s")
            x = self.network.g_s(y, steer)[0, :, :height, :width].float()
        pixels = (x.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
        return np.ascontiguousarray(pixels.cpu().numpy())

    def _rate_step(self, quality: float | None, target: Target | None) -> int:
        if self.network.gain is None:
            if quality is not None or target is not None:
                what = "quality" if target is None else "target"
                raise UsageError(f"model {self.name} was trained for one rate and takes no {what}")
            return 0
        if quality is not None and target is not None:
            raise UsageError(f"a quality and a target {target.name} exclude each other")
        quality = DEFAULT_QUALITY if quality is None else float(quality)
        if not 0 <= quality <= 100:
            raise UsageError(f"quality {quality} is outside 0..100")
        return round(quality / 100 * Q_STEPS)


def _reporting(progress: Progress | None, done: int, total: int) -> Callable[[], None]:
    """A function that tells ``progress`` of one step more at every call."""
    counted = count(done + 1)
    return lambda: progress(min(next(counted), total), total) if progress is not None else None


def _remedy(header: Header) -> str:
    shipped = model_for(header.probability, header.pixels)
    if shipped is None:
        return "decode it with the release or the model file that made it"
    return f"this release has that one as {shipped.stem}: name it, or no model at all"


def _coded(tile: Tile) -> CodedLatents:
    return CodedLatents(tile.stream, tile.offsets, tile.checksum)


def _checked(crop: Rect, grid: Grid) -> Rect:
    if crop.width < 1 or crop.height < 1 or crop.intersection(grid.whole) != crop:
        raise UnfitError(
            f"a crop of {crop.width} x {crop.height} pixels at {crop.left},{crop.top} is not inside the picture of "
            f"{grid.width} x {grid.height}"
        )
    return crop


def _largest_region(grid: Grid, halo: int) -> int:
    """Pixels that the networks see at once."""
    return min(grid.tile_width + 2 * halo, grid.width) * min(grid.tile_height + 2 * halo, grid.height)
