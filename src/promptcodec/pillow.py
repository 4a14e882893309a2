"""``import promptcodec.pillow`` teaches Pillow to open and save .ptc files.

>>> import promptcodec.pillow
>>> from PIL import Image
>>> Image.open("photo.ptc").show()
>>> image.save("photo.ptc", quality=60)

``save`` takes what ``promptcodec.encode`` does, such as ``target_size``, beside Pillow's ``icc_profile``, ``exif`` and
``xmp``.
"""

from __future__ import annotations

import io
from typing import IO, Any

from PIL import Image, ImageFile

from promptcodec.bitstream.container import EXIF_PREFIX, SIGNATURE, read_header, read_preview, unpack, version_problem
from promptcodec.errors import PromptcodecError

FORMAT = "PTC"
OPTIONS = (
    "quality", "target_size", "target_bpp", "target_psnr", "target_ms_ssim", "target_ssimulacra2", "model", "device",
    "adapters", "settings", "roi", "look", "maps", "effort", "precision", "strip", "memory", "preview", "verify",
)  # fmt: skip


class PtcImageFile(ImageFile.ImageFile):
    """A .ptc file: the header is read at once, the model runs when pixels are asked for."""

    format = FORMAT
    format_description = "promptcodec image"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            header = read_header(self.fp, max_pixels=_limit())
        except PromptcodecError as error:
            raise SyntaxError(str(error)) from None  # what Pillow expects of a plugin
        self._size = (header.width, header.height)
        self._mode = ("LA" if header.alpha else "L") if header.grey else ("RGBA" if header.alpha else "RGB")
        self.tile = []
        self._pending = True
        self.fp.seek(0)
        self._data = self.fp.read()
        try:
            metadata = unpack(self._data, max_pixels=_limit()).metadata
        except PromptcodecError:
            return  # damaged behind the header: load will say so, unless a preview in front of it will do
        exif = None if metadata.exif is None else EXIF_PREFIX + metadata.exif
        info = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp}
        self.info.update({key: value for key, value in info.items() if value is not None})

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Take the file's preview instead of the picture where it is as large as ``size``: ``thumbnail`` asks."""
        if not getattr(self, "_pending", False) or size is None:
            return None
        try:
            header, preview = read_preview(io.BytesIO(self._data), max_pixels=_limit())
        except PromptcodecError:
            return None
        if preview is None or header.alpha or preview.width < size[0] or preview.height < size[1]:
            return None
        self._small, self._size = True, (preview.width, preview.height)
        self.info.pop("icc_profile", None)  # previews are sRGB
        return self.mode, (0.0, 0.0, *map(float, self._size))  # type: ignore[return-value]

    def load(self) -> Any:
        """Decode at first use. Raises OSError for damaged files, as Pillow's own plugins do."""
        if getattr(self, "_pending", False):
            from promptcodec.api import codec_for, preview

            try:
                small = getattr(self, "_small", False)
                self.im = (preview(self._data) if small else codec_for(self._data).decode(self._data)).im
            except PromptcodecError as error:
                raise OSError(str(error)) from None
            self._pending, self._data = False, b""
            if self._exclusive_fp and self.fp is not None:
                self.fp.close()
            self.fp = None
        return super().load()


def _limit() -> int:
    return Image.MAX_IMAGE_PIXELS * 2 if Image.MAX_IMAGE_PIXELS is not None else 2**28


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from promptcodec.api import encode

    options = image.encoderinfo
    metadata = {key: options[key] for key in ("icc_profile", "exif", "xmp") if key in options}
    if metadata:
        if isinstance(metadata.get("exif"), Image.Exif):
            metadata["exif"] = metadata["exif"].tobytes()
        if isinstance(metadata.get("xmp"), str):
            metadata["xmp"] = metadata["xmp"].encode()
        image = image.copy()
        image.info = {k: v for k, v in (image.info | metadata).items() if v is not None}
    try:
        file.write(encode(image, **{key: options[key] for key in OPTIONS if key in options}))
    except PromptcodecError as error:
        raise OSError(str(error)) from None


def _accept(prefix: bytes) -> bool | str:
    """Return whether a file is ours; text is the reason that Pillow warns with where it is, but cannot be read."""
    if not prefix.startswith(SIGNATURE):
        return False
    if len(prefix) == len(SIGNATURE):
        return "the file ends inside its signature"
    return version_problem(prefix[len(SIGNATURE)]) or True


Image.register_open(FORMAT, PtcImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".ptc")
Image.register_mime(FORMAT, "image/x-ptc")
