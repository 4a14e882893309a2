"""Pictures to PIL images and to files of any format that Pillow writes."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from PIL import Image, PngImagePlugin

from promptcodec.bitstream.container import EXIF_PREFIX
from promptcodec.errors import ImageError
from promptcodec.picture.picture import Picture
from promptcodec.system.atomic import atomic_write

# A decoded picture should not lose again what its file kept.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 95},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "PNG": {"compress_level": 4},
}


def to_pil(picture: Picture) -> Image.Image:
    """Mode L, LA, RGB or RGBA, with ``info`` keys ``icc_profile``, ``exif`` and ``xmp`` where the picture has them."""
    image = Image.fromarray(picture.rgb[:, :, 0] if picture.grey else picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    if picture.icc is not None:
        image.info["icc_profile"] = picture.icc
    if picture.exif is not None:
        image.info["exif"] = EXIF_PREFIX + picture.exif
    if picture.xmp is not None:
        image.info["xmp"] = picture.xmp
    return image


def write(picture: Picture, target: Path | BinaryIO, format: str | None = None) -> None:
    """Write a picture to a path (whole or not at all) or a binary file, with its metadata where the format has room.

    ``format`` is an extension such as ``png``; by default the path's. Raises ImageError where Pillow cannot.
    """
    suffix = (
        f".{format.lower().lstrip('.')}" if format else target.suffix.lower() if isinstance(target, Path) else ".png"
    )
    Image.init()
    name = Image.registered_extensions().get(suffix)
    if name is None or name not in Image.SAVE:
        raise ImageError(f"Pillow writes no {suffix or 'file without an extension'}; try .png, .jpg, .webp or .tiff")
    image = to_pil(picture)
    if isinstance(target, Path):
        with atomic_write(target, overwrite=True) as file:
            _save(image, file, name)
    else:
        _save(image, target, name)


def _save(image: Image.Image, file: BinaryIO, name: str) -> None:
    options = _OPTIONS.get(name, {}) | _metadata(image, name)
    if name == "JPEG" and image.mode in ("LA", "RGBA"):
        image = _on_white(image)
    try:
        image.save(cast("IO[bytes]", _Written(file)), name, **options)
    except OSError as error:
        if error.errno is not None:  # the disk's fault, not the format's
            raise
        raise ImageError(f"Pillow cannot write this {image.mode} picture as {name}: {error}") from None
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ImageError(f"Pillow cannot write this {image.mode} picture as {name}: {error}") from None


class _Written(io.BufferedIOBase):
    """A file without its descriptor: given one, Pillow's C writers forget why the system refused to write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()


def _metadata(image: Image.Image, name: str) -> dict[str, Any]:
    """The options by which Pillow's writer of format ``name`` takes metadata."""
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    options: dict[str, Any] = {}
    if icc is not None:
        options["icc_profile"] = icc
    if (exif is not None and len(exif) <= 65_533) or name != "JPEG":
        options |= {"exif": exif} if exif is not None else {}
    elif exif is not None:
        warnings.warn("the EXIF data is too large for a JPEG file; it is left out", stacklevel=5)
    if xmp is not None:
        if name == "PNG":
            info = PngImagePlugin.PngInfo()
            info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
            options["pnginfo"] = info
        elif name != "JPEG" or len(xmp) <= 65_504:
            options["xmp"] = xmp
    return options


def _on_white(image: Image.Image) -> Image.Image:
    """JPEG has no alpha: what is transparent becomes white, as browsers and viewers show it."""
    warnings.warn("JPEG keeps no transparency: the picture is laid on white", stacklevel=5)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, rgba).convert("L" if image.mode == "LA" else "RGB")
