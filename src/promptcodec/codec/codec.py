"""The codec: pictures to bytes of a .ptc file and back, with one model."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from promptcodec.codec.alpha import decode_alpha, encode_alpha
from promptcodec.codec.container import Header, Metadata, PtcFile, Tile, pack, unpack
from promptcodec.codec.goals import goal_of
from promptcodec.codec.latents import CodedLatents, LatentCoder
from promptcodec.codec.lossless import lossless_is_smaller
from promptcodec.codec.memory import check_memory
from promptcodec.codec.picture import Picture
from promptcodec.codec.picture_io import read
from promptcodec.codec.picture_write import to_pil
from promptcodec.codec.search import Target, search
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import STRIDE
from promptcodec.model.transforms import pad_to_multiple
from promptcodec.zoo.model_file import StoredModel

if TYPE_CHECKING:
    from PIL import Image

    from promptcodec.codec.picture_io import Source

DEFAULT_QUALITY = 50.0
Q_STEPS = 2**16 - 1


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
        self, image: Source, quality: float | None = None, *, target: Target | None = None, strip: bool = False,
        source_hash: bytes | None = None,
    ) -> bytes:  # fmt: skip
        """A .ptc file of ``image`` (path, file object, bytes, PIL image, NumPy array or tensor).

        ``quality``: 0 (smallest) to 100 (best), 50 by default; or a ``target``, whose quality is searched: the picture
        is analysed once. ``strip`` leaves out EXIF and XMP; ``source_hash`` (8 bytes) is stored for programs that
        compare. Warns where a lossless PNG would be smaller.
        Raises ImageError, LimitError, UsageError, and TargetError for targets out of this picture's range.
        """
        picture = read(image)
        check_memory(*picture.rgb.shape[:2])
        q = self._rate_step(quality, target)
        y, z = self.analyse(picture.rgb)
        height, width = picture.rgb.shape[:2]
        metadata = Metadata(
            icc=picture.icc, exif=None if strip else picture.exif, xmp=None if strip else picture.xmp,
            alpha=None if picture.alpha is None else encode_alpha(picture.alpha), source_hash=source_hash,
        )  # fmt: skip

        def file_at(q: int) -> bytes:
            coded = self.coder.encode(y, z, q / Q_STEPS)
            header = Header(
                width=width, height=height, grey=picture.grey, alpha=picture.alpha is not None,
                probability=self.model.probability, pixels=self.model.pixels, q=q,
            )  # fmt: skip
            return pack(PtcFile(header, (Tile(coded.checksum, coded.offsets, coded.stream),), metadata))

        data = file_at(q) if target is None else search(file_at, *goal_of(target, self, picture), Q_STEPS)
        if lossless_is_smaller(picture, len(data)):
            warnings.warn(
                "a lossless PNG of this picture would be smaller; this codec is made for photos", stacklevel=2
            )
        return data

    def decode(self, data: bytes) -> Image.Image:
        """The picture in a .ptc file, as a PIL image with its metadata.

        Raises FormatError for damaged files, ModelMismatchError for files of another model, LimitError.
        """
        return to_pil(self.decode_picture(data))

    def decode_picture(self, data: bytes) -> Picture:
        """As ``decode``, but a ``Picture``."""
        file = unpack(data)
        header, metadata = file.header, file.metadata
        self.check_model(header)
        check_memory(header.height, header.width)
        (tile,) = file.tiles
        alpha = None if metadata.alpha is None else decode_alpha(metadata.alpha, header.height, header.width)
        coded = CodedLatents(tile.stream, tile.offsets, tile.checksum)
        q = header.q / Q_STEPS
        rgb = self.synthesise(self.coder.decode(coded, header.height, header.width, q), header.height, header.width, q)
        if header.grey:
            rgb = np.repeat(np.rint(rgb.mean(axis=2, keepdims=True)).astype(np.uint8), 3, axis=2)
        return Picture(rgb=rgb, grey=header.grey, alpha=alpha, icc=metadata.icc, exif=metadata.exif, xmp=metadata.xmp)

    def check_model(self, header: Header) -> None:
        """Raise ModelMismatchError where a file with this header needs another model."""
        if header.probability != self.model.probability:
            raise ModelMismatchError(
                f"the file was made with model {header.probability.hex()}, this is {self.name} "
                f"({self.model.probability.hex()}); decode it with the release or the model file that made it"
            )

    @torch.inference_mode()
    def analyse(self, rgb: np.ndarray) -> tuple[Tensor, Tensor]:
        """Latents y (1, M, h/16, w/16) and z (1, N, h/64, w/64), before gains, of uint8 pixels (H, W, 3)."""
        x = torch.from_numpy(np.ascontiguousarray(rgb)).to(self.device).permute(2, 0, 1)[None].float() / 255
        y = self.network.g_a(pad_to_multiple(x, STRIDE).contiguous(memory_format=torch.channels_last))
        return y, self.network.h_a(y)

    @torch.inference_mode()
    def synthesise(self, y_hat: Tensor, height: int, width: int, q: float) -> np.ndarray:
        """uint8 pixels (height, width, 3) of the decoded, gained latent (1, M, h/16, w/16)."""
        y = (y_hat * self.coder.gains(q).y_inverse).float().to(self.device)
        x = self.network.g_s(y.contiguous(memory_format=torch.channels_last))[0, :, :height, :width]
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
