"""The codec: pictures to bytes of a .ptc file and back, with one model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from promptcodec.codec.alpha import decode_alpha, encode_alpha
from promptcodec.codec.container import MAX_PIXELS, AdapterRecord, Header, Metadata, PtcFile, Tile, pack, unpack
from promptcodec.codec.goals import goal_of
from promptcodec.codec.latents import PLAIN, CodedLatents, LatentCoder
from promptcodec.codec.lossless import lossless_is_smaller
from promptcodec.codec.memory import check_memory
from promptcodec.codec.picture import Picture
from promptcodec.codec.picture_io import read
from promptcodec.codec.picture_write import to_pil
from promptcodec.codec.search import Target, search
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import STRIDE, CompressionModel
from promptcodec.model.steering import Constant, Decoded, Steerer, Steering
from promptcodec.model.transforms import pad_to_multiple
from promptcodec.zoo.model_file import StoredModel

if TYPE_CHECKING:
    from PIL import Image

    from promptcodec.codec.picture_io import Source
    from promptcodec.codec.steered import Opener, Steered

DEFAULT_QUALITY = 50.0
Q_STEPS = 2**16 - 1

# y, z and the encoder's steering of a picture (1, 3, H, W) at the rate q.
Refine = Callable[[CompressionModel, Tensor, float, Steerer], tuple[Tensor, Tensor, Steering]]


class Codec:
    """One model, ready to encode and decode on one device. Safe to use from several threads."""

    def __init__(self, model: StoredModel, device: str | torch.device = "cpu") -> None:
        self.model = model
        self.network = model.network
        self.device = torch.device(device)
        self.coder = LatentCoder(model)

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
        steered: Callable[[int, int], Steered] | None = None,
        refine: Refine | None = None,
    ) -> bytes:
        """A .ptc file of ``image`` (path, file object, bytes, PIL image, NumPy array or tensor).

        ``quality``: 0 (smallest) to 100 (best), 50 by default; or a ``target``, whose quality is searched: the picture
        is analysed once. ``strip`` leaves out EXIF and XMP; ``source_hash`` (8 bytes) is stored for programs that
        compare. ``steered`` attaches adapters for a picture of the height and width that it is given;
        ``promptcodec.steer.files`` makes it. ``refine`` takes the place of the analysis, such as a
        ``steer.editing.Refinement``; not together with a target. Warns where a lossless PNG would be smaller.
        Raises ImageError, LimitError, UsageError, and TargetError for targets out of this picture's range.
        """
        picture = read(image)
        check_memory(*picture.rgb.shape[:2])
        q = self._rate_step(quality, target)
        height, width = picture.rgb.shape[:2]
        if refine is not None and target is not None:
            raise UsageError(f"a target {target.name} and a refinement exclude each other; give a quality")
        attached = steered(height, width) if steered is not None else None
        y, z, steer = self._analyse(picture.rgb, attached or Constant(), refine, q / Q_STEPS)
        latents = attached.latents(steer) if attached is not None else PLAIN
        records = attached.records if attached is not None else ()
        metadata = Metadata(
            icc=picture.icc, exif=None if strip else picture.exif, xmp=None if strip else picture.xmp,
            alpha=None if picture.alpha is None else encode_alpha(picture.alpha), source_hash=source_hash,
        )  # fmt: skip

        def file_at(q: int) -> bytes:
            coded = self.coder.encode(y, z, q / Q_STEPS, latents)
            header = Header(
                width=width, height=height, grey=picture.grey, alpha=picture.alpha is not None,
                probability=self.model.probability, pixels=self.model.pixels, q=q,
            )  # fmt: skip
            return pack(PtcFile(header, (Tile(coded.checksum, coded.offsets, coded.stream),), metadata, records))

        data = file_at(q) if target is None else search(file_at, *goal_of(target, self, picture), Q_STEPS)
        if lossless_is_smaller(picture, len(data)):
            warnings.warn(
                "a lossless PNG of this picture would be smaller; this codec is made for photos", stacklevel=2
            )
        return data

    def decode(self, data: bytes, *, max_pixels: int | None = MAX_PIXELS) -> Image.Image:
        """The picture in a .ptc file, as a PIL image with its metadata.

        ``max_pixels``: larger pictures are refused; None trusts the file. Raises FormatError for damaged files,
        ModelMismatchError for files of another model, LimitError.
        """
        return to_pil(self.decode_picture(data, max_pixels=max_pixels))

    def decode_picture(
        self, data: bytes, opener: Opener | None = None, *, max_pixels: int | None = MAX_PIXELS
    ) -> Picture:
        """As ``decode``, but a ``Picture``. ``opener`` attaches the adapters that the file names, if it names any."""
        file = unpack(data, max_pixels)
        header, metadata = file.header, file.metadata
        alpha, attached, latents = self._decode_exact(file, opener)
        rgb = self.synthesise(latents[1], header.height, header.width, header.q / Q_STEPS, attached, latents[0])
        if header.grey:
            rgb = np.repeat(np.rint(rgb.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        return Picture(rgb=rgb, grey=header.grey, alpha=alpha, icc=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)

    def verify(self, data: bytes, opener: Opener | None = None, *, max_pixels: int | None = MAX_PIXELS) -> None:
        """All of ``decode_picture`` that can fail, without the synthesis: no pixels are made. Raises as it does."""
        self._decode_exact(unpack(data, max_pixels), opener)

    def _decode_exact(
        self, file: PtcFile, opener: Opener | None
    ) -> tuple[np.ndarray | None, Steered | None, tuple[Tensor, Tensor]]:
        """What is the same on every machine: the alpha plane, and the latents, with the adapters that decide them."""
        header = file.header
        self.check_model(header)
        attached = None
        if file.adapters:
            if opener is None:
                raise ModelMismatchError(
                    f"the file needs {_named(file.adapters)}; give the adapter's file, with --adapter"
                )
            attached = opener(file.adapters)
        check_memory(header.height, header.width)
        (tile,) = file.tiles
        stored = file.metadata.alpha
        alpha = None if stored is None else decode_alpha(stored, header.height, header.width)
        coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
        steering = PLAIN if attached is None else attached.latents()
        q = header.q / Q_STEPS
        return alpha, attached, self.coder.decode_both(coded, header.height, header.width, q, steering)

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        if header.probability != self.model.probability:
            raise ModelMismatchError(
                f"the file was made with model {header.probability.hex()}, this is {self.name} "
                f"({self.model.probability.hex()}); decode it with the release or the model file that made it"
            )

    def analyse(self, rgb: np.ndarray) -> tuple[Tensor, Tensor]:
        """Latents y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of uint8 pixels (H, W, 3)."""
        y, z, _ = self._analyse(rgb, Constant())
        return y, z

    @torch.inference_mode()
    def _analyse(
        self, rgb: np.ndarray, steerer: Steerer, refine: Refine | None = None, q: float = 0.0
    ) -> tuple[Tensor, Tensor, Steering]:
        pixels = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).to(self.device)
        x = pixels.permute(2, 0, 1)[None].float() / 255
        if refine is not None:
            return refine(self.network, x, q, steerer)
        return self.network.analyse(pad_to_multiple(x, STRIDE).contiguous(memory_format=torch.channels_last), steerer)

    @torch.inference_mode()
    def synthesise(
        self,
        y_hat: Tensor,
        height: int,
        width: int,
        q: float,
        steered: Steered | None = None,
        z_hat: Tensor | None = None,
    ) -> np.ndarray:
        """uint8 pixels (height, width, 3) of the decoded, gained latent (1, M, h/16, w/16)."""
        gains = self.coder.gains(q)
        if steered is not None:
            gains = gains.times(steered.latents().gains)
        y = (y_hat * gains.y_inverse).float().to(self.device).contiguous(memory_format=torch.channels_last)
        steer = None
        if steered is not None and z_hat is not None:
            steer = steered.for_decoder(Decoded(z_hat.float().to(self.device), y)).within("g_s")
        x = self.network.g_s(y, steer)[0, :, :height, :width]
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


def _named(adapters: tuple[AdapterRecord, ...]) -> str:
    several = "adapters" if len(adapters) > 1 else "adapter"
    return f"{several} {', '.join(f'{a.name} ({a.fingerprint.hex()})' for a in adapters)}"
