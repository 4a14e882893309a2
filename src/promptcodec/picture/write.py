"""Pictures to PIL images and to files of any format that Pillow writes."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from PIL import Image

from promptcodec.bitstream.container import EXIF_PREFIX
from promptcodec.errors import ImageError
from promptcodec.picture.exif import add_to_tiff
from promptcodec.picture.keepable import attempts, keepable, metadata_options, to_mode
from promptcodec.picture.picture import Picture
from promptcodec.system.atomic import atomic_write

# A decoded picture should not lose again what its file kept.
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "PNG": {"compress_level": 4},
}


def to_pil(picture: Picture) -> Image.Image:
    """Return an image of mode L, LA, RGB or RGBA, with ``info`` keys ``icc_profile``, ``exif`` and ``xmp`` where the
    picture has them.
    """
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
    """Write a picture to a path (whole or not at all) or a binary file, with what the format keeps of it.

    Warns of what it does not keep; colours whose profile it cannot keep become sRGB. Metadata that its writer stumbles
    over is left out, with a warning.

    ``format`` is an extension such as ``png``; by default the path's. Raises ImageError where Pillow cannot.
    """
    suffix = (
        f".{format.lower().lstrip('.')}" if format else target.suffix.lower() if isinstance(target, Path) else ".png"
    )
    Image.init()
    name = Image.registered_extensions().get(suffix)
    if name is None or name not in Image.SAVE:
        raise ImageError(f"Pillow writes no {suffix or 'file without an extension'}; try .png, .jpg, .webp or .tiff")
    if isinstance(target, Path):
        with atomic_write(target, overwrite=True) as file:
            _save(picture, file, name)
    else:
        _save(picture, target, name)


def _save(picture: Picture, file: BinaryIO, name: str) -> None:
    written = _Written(file)
    picture = keepable(picture, name)
    last: Exception | None = None
    for attempt, without in attempts(picture):
        try:
            _save_once(attempt, written, name)
        except OSError as error:
            if error.errno is not None:  # the disk's fault, not the format's
                raise
            last = last or error
        except (ValueError, KeyError, TypeError, RuntimeError, struct.error) as error:
            last = last or error
        else:
            if without:
                warnings.warn(f"{name} cannot be written with this {without}; left out ({last})", stacklevel=4)
            written.finish()
            return
        written.restart()
    raise ImageError(f"Pillow cannot write this {to_pil(picture).mode} picture as {name}: {last}") from None


def _save_once(picture: Picture, written: _Written, name: str) -> None:
    image = to_mode(picture, name)
    options = _OPTIONS.get(name, {}) | metadata_options(picture, name)
    if name != "TIFF" or (picture.exif is None and picture.xmp is None):
        image.save(cast("IO[bytes]", written), name, **options)
        return
    whole = io.BytesIO()  # Pillow has no way to write these tags as they are
    image.save(whole, name, **options)
    add_to_tiff(whole, picture.exif, picture.xmp)
    written.write(whole.getbuffer())


class _Written(io.BufferedIOBase):
    """A file without its descriptor: given one, Pillow's C writers forget why the system refused to write.

    What cannot be sought in gets its bytes at the end, so that they can be taken back until then.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._target = file
        self._file = file if file.seekable() else io.BytesIO()
        self._begin = self._file.tell()

    def restart(self) -> None:
        """Take back what has been written."""
        self._file.seek(self._begin)
        self._file.truncate()

    def finish(self) -> None:
        """Hand on what has been written."""
        if isinstance(self._file, io.BytesIO) and self._file is not self._target:
            self._target.write(self._file.getbuffer())

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
