"""Pictures to measure on."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptcodec.errors import ImageError, LimitError, UsageError
from promptcodec.picture.read import read
from promptcodec.quality.pixels import Pixels
from promptcodec.system.printable import valid_unicode

SUFFIXES = frozenset({".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".avif"})
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class PictureFile:
    """A picture as stored. ``name``: of its file, in valid Unicode; ``sha256``: of its bytes, in hexadecimal."""

    name: str
    sha256: str
    data: bytes

    def pixels(self) -> Pixels:
        """Return uint8 (H, W, 3), alpha dropped. Raises ImageError for what is no 8-bit picture."""
        try:
            with Image.open(io.BytesIO(self.data)) as image:
                if image.mode not in _EIGHT_BIT_MODES:
                    raise ImageError(f"{self.name} is not an 8-bit picture (Pillow mode {image.mode})")
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ImageError(f"cannot read the picture {self.name}: {error}") from error

    def mask(self) -> NDArray[np.uint8]:
        """Return the file as a mask: uint8 (H, W), 255 where it counts fully. Raises ImageError."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a picture loses in 8 bits, a mask does not miss
                return np.array(Image.fromarray(read(self.data).rgb).convert("L"))
        except (ImageError, LimitError) as error:
            raise ImageError(f"cannot read the mask {self.name}: {error}") from error


def find_pictures(sources: Sequence[Path]) -> list[Path]:
    """Return the files among ``sources`` and the pictures directly inside the folders, each folder sorted by name.

    Raises UsageError where a source does not exist or nothing is found.
    """
    paths: dict[Path, None] = {}
    for source in sources:
        if source.is_dir():
            files = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
            if not files:
                raise UsageError(f"no pictures in {source} (looked for {', '.join(sorted(SUFFIXES))})")
        elif source.is_file():
            files = [source]
        else:
            raise UsageError(f"there is no file or folder {source}")
        paths |= dict.fromkeys(files)
    if not paths:
        raise UsageError("no pictures: name a folder or picture files")
    return list(paths)


def read_picture(path: Path) -> PictureFile:
    """Read the file, not yet its pixels. Raises ImageError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read {path}: {error.strerror}") from error
    return PictureFile(valid_unicode(path.name), hashlib.sha256(data).hexdigest(), data)


def find_masks(folder: Path, pictures: Sequence[Path]) -> dict[Path, Path]:
    """Return the mask of each picture: the PNG of the same name in ``folder``.

    Raises UsageError where one is missing.
    """
    masks = {picture: folder / f"{picture.stem}.png" for picture in pictures}
    if missing := [mask for mask in masks.values() if not mask.is_file()]:
        raise UsageError(f"there is no mask {missing[0]} ({len(missing)} of {len(masks)} are missing)")
    return masks
