"""The codec: pictures to bytes of a .ptc file and back, with one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.bitstream.container import MAX_PIXELS, PtcReader
from promptcodec.bitstream.contents import Header, Preview
from promptcodec.bitstream.tiling import Rect
from promptcodec.codec.adapters import AdapterLibrary, AdapterSource, NoAdapters, Request
from promptcodec.codec.analysed_picture import AnalysedPicture
from promptcodec.codec.backend import Backend
from promptcodec.codec.batched_analysis import BatchedAnalysis
from promptcodec.codec.budget import DEFAULT_MEMORY, bytes_a_pixel, padded_pixels
from promptcodec.codec.decoder import Decoder, reader
from promptcodec.codec.latents import LatentCoder
from promptcodec.codec.one_shot import OneShotCoder
from promptcodec.codec.picture_encoder import FileOptions, PictureEncoder
from promptcodec.codec.search import Target
from promptcodec.codec.tile_latents import Coder, Progress, dequantised
from promptcodec.model.arrays import Analysis, Float64s, Floats
from promptcodec.model.config import ContextualMean, Model
from promptcodec.model.effort import NO_EFFORT, Effort, effort_of
from promptcodec.picture.picture import Picture
from promptcodec.picture.read import read
from promptcodec.picture.write import to_pil

if TYPE_CHECKING:
    from promptcodec.codec.adapters import MapSource
    from promptcodec.picture.read import Source


class Codec:
    """One model, ready to encode and decode, with the adapters that steer it. Safe to use from several threads."""

    def __init__(self, backend: Backend, adapters: AdapterLibrary | None = None) -> None:
        """``promptcodec.load`` makes both."""
        self.backend = backend
        self.adapters = adapters or NoAdapters()
        contextual = isinstance(self.config.context, ContextualMean)
        self.coder: Coder = OneShotCoder(backend) if contextual else LatentCoder(backend.hyper)
        self._decoder = Decoder(backend, self.coder, self.adapters)
        self._together = BatchedAnalysis(backend)

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
        adapters: Sequence[AdapterSource] = (),
        settings: Mapping[str, float] | None = None,
        roi: MapSource | None = None,
        look: float | None = None,
        maps: Mapping[str, MapSource] | None = None,
        strip: bool = False,
        source_hash: bytes | None = None,
        effort: int | Effort = 0,
        memory: int = DEFAULT_MEMORY,
        preview: bool | None = None,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> bytes:
        """Encode ``image`` (path, file object, bytes, PIL image, NumPy array or tensor) into a .ptc file.

        ``quality``: 0 (smallest) to 100 (best), 50 by default; or a ``target``, whose quality is searched: the picture
        is analysed once, or for each trial if an adapter that acts in the analysis takes the rate. ``strip`` leaves out
        EXIF and XMP; ``source_hash`` (8 bytes) is stored for programs that compare.

        ``adapters``: files, or names of those in the package, in the order in which they act; what no given adapter
        takes goes to one of the package that does. ``settings``: scalars by name, in [0, 1]; ``look`` is the one of
        that name. ``maps``: maps by name, each a grey picture or array (H, W) of any size, ``x,y,w,h`` in pixels, a
        number for everywhere, or a tensor (1, 1, H, W) in [0, 1]; ``roi``, what matters most, is the one of that name.
        ``quality`` and ``target`` set the rate of the base. If an attached adapter takes the scalar ``rate`` and
        ``settings`` does not give it, they set that scalar: in place of the base's rate if the base has only one, or if
        the adapters were trained at one; otherwise together with it. Adapters that were trained at one rate and take
        no ``rate`` accept no other quality.

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
        options = FileOptions(strip, source_hash, preview, verify)
        with self.backend.default_settings():
            encoder = PictureEncoder(self._decoder, read(image), memory)
            return encoder.encode(request, quality, target, effort, options, progress)

    def analysed(
        self,
        image: Source,
        *,
        adapters: Sequence[AdapterSource] = (),
        settings: Mapping[str, float] | None = None,
        roi: MapSource | None = None,
        look: float | None = None,
        maps: Mapping[str, MapSource] | None = None,
        memory: int = DEFAULT_MEMORY,
        progress: Progress | None = None,
    ) -> AnalysedPicture:
        """Analyse ``image`` and keep its latents, to be encoded many times: the arguments are those of ``encode``.

        Maps, of which ``roi`` is one, are read once. All latents stay in memory, about 5 bytes a pixel beside the
        picture's 3: see ``AnalysedPicture.nbytes``. Raises ImageError, LimitError and UsageError.
        """
        request = Request.of(adapters, settings, roi, look, maps)
        with self.backend.default_settings():
            encoder = PictureEncoder(self._decoder, read(image), memory)
            request = encoder.with_maps_read(request)
            return AnalysedPicture(encoder, request, encoder.analyse(request, progress))

    def read(self, image: Source) -> Picture:
        """Read a picture as ``encode`` does. Raises ImageError and LimitError."""
        with self.backend.default_settings():
            return read(image)

    def analysed_batch(self, pictures: Sequence[Picture], memory: int = DEFAULT_MEMORY) -> list[AnalysedPicture]:
        """Analyse pictures of one size, steered by nothing, several in a pass of the networks where it is equal.

        Their files are those of ``encode``, byte for byte: see ``BatchedAnalysis``. A pass takes no more pictures than
        ``memory`` bytes are for; where they are not enough for two, pictures are analysed one by one, as in
        ``analysed``. Raises LimitError.
        """
        if not pictures:
            return []
        height, width = pictures[0].rgb.shape[:2]
        most = int(memory / (bytes_a_pixel(self.config) * padded_pixels(height, width)))
        with self.backend.default_settings():
            encoders = [PictureEncoder(self._decoder, picture, memory) for picture in pictures]
            if most < 2:
                return [AnalysedPicture(each, Request(), each.analyse(Request())) for each in encoders]
            latents = self._together([picture.rgb for picture in pictures], most)
            return [
                AnalysedPicture(encoder, Request(), encoder.keeping(each))
                for encoder, each in zip(encoders, latents, strict=True)
            ]

    def decode(
        self,
        data: bytes | PtcReader,
        *,
        adapters: Sequence[AdapterSource] = (),
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Image.Image:
        """Decode the picture in a .ptc file, as a PIL image with its metadata.

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
        adapters: Sequence[AdapterSource] = (),
        settings: Mapping[str, float] | None = None,
        look: float | None = None,
        max_pixels: int | None = MAX_PIXELS,
        crop: Rect | None = None,
        progress: Progress | None = None,
    ) -> Picture:
        """Decode as ``decode`` does, into a ``Picture``."""
        request = Request.of(adapters, settings, look=look)
        with self.backend.default_settings():
            return self._decoder.decode(reader(data, max_pixels), request, crop, progress)

    def verify(
        self, data: bytes | PtcReader, *, adapters: Sequence[AdapterSource] = (), max_pixels: int | None = MAX_PIXELS
    ) -> None:
        """Do all of ``decode_picture`` that can fail, without the synthesis: no pixels are made. Raises as it does.

        The preview is checked as well, which ``decode_picture`` does not look at.
        """
        with self.backend.default_settings():
            self._decoder.verify(reader(data, max_pixels), Request(tuple(adapters)))

    def bit_allocation(
        self, data: bytes | PtcReader, *, adapters: Sequence[AdapterSource] = (), max_pixels: int | None = MAX_PIXELS
    ) -> Float64s:
        """Return where a file's bits go: those of each block of 16 x 16 pixels, float64 (H/16, W/16), both rounded up.

        They are -log2 p of the integers that the file holds, by the very tables that coded them; those of z, which
        stand for 64 x 64 pixels, are spread over their blocks. Their sum is the file's size in bits, less its header,
        metadata, alpha, and the bytes of integers beyond their table, of which photos have next to none. Raises as
        ``decode_picture`` does.
        """
        with self.backend.default_settings():
            return self._decoder.bit_allocation(reader(data, max_pixels), Request(tuple(adapters)))

    def decode_preview(self, header: Header, preview: Preview) -> Picture:
        """Decode the picture in small. Raises as ``decode`` does."""
        with self.backend.default_settings():
            return self._decoder.decode_preview(header, preview)

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        self._decoder.check_model(header)

    def analyse(self, rgb: NDArray[np.uint8]) -> Analysis:
        """Latents, before gains, of uint8 pixels (H, W, 3)."""
        with self.backend.default_settings():
            return self.backend.analyse(rgb, 0.0, None, NO_EFFORT, lambda: None)

    def synthesise(self, y_hat: Floats, z_hat: Floats, height: int, width: int, q: float) -> NDArray[np.uint8]:
        """uint8 pixels (height, width, 3) of what ``coder.decode_both`` gives."""
        with self.backend.default_settings():
            y = dequantised(self.coder, y_hat, q)
            return self.backend.synthesise(y, z_hat.astype(np.float32), None, height, width)
