"""Pictures from whatever people have: paths, files, PIL images, arrays, tensors; and to files."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from promptcodec.bitstream.container import EXIF_PREFIX, MAX_PIXELS, MAX_SIDE
from promptcodec.codec.file_objects import checked, seekable
from promptcodec.errors import ImageError, LimitError, UsageError
from promptcodec.informing import only_informs
from promptcodec.picture.colour import to_rgb_or_grey
from promptcodec.picture.picture import Picture

if TYPE_CHECKING:
    from torch import Tensor

    Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Tensor

# What Pillow's decoders raise on damaged files; all of it means the same to a caller.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
)
_GREY_MODES = ("1", "L", "LA", "La")
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
# What a TIFF's own directory says of the picture rather than of the file's layout, and the directories beside it.
_TIFF_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432)
_SUB_DIRECTORIES = (0x8769, 0x8825)  # Exif, GPS
_XMP_ORIENTATION = re.compile(rb'\s*tiff:Orientation="\d*"|<tiff:Orientation>\s*\d*\s*</tiff:Orientation>')


def read(source: Source) -> Picture:
    """A picture from a path, encoded bytes, a binary file, a PIL image, an array or a tensor.

    Arrays are (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4), tensors (C, H, W) or (1, C, H, W): grey, grey and
    alpha, RGB, RGBA. Values are uint8, uint16, bool, or floating point in [0, 1] (clipped); wider integers count as 8
    bits where none is above 255, as 16 bits else. Applies EXIF orientation.
    Warns where something is lost (16 bits, further frames). Raises ImageError, LimitError, UsageError, and OSError
    for files that cannot be opened.
    """
    if isinstance(source, Image.Image):
        return _from_pil(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_file(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return _from_file(seekable(file))
    if hasattr(source, "permute"):  # a tensor, told without importing torch
        return _from_tensor(cast("Tensor", source))
    if hasattr(source, "read"):
        return _from_file(seekable(checked(source)))
    raise UsageError(f"expected a path, file, bytes, PIL image, array or tensor, found {type(source).__name__}")


def _from_file(file: BinaryIO) -> Picture:
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        raise LimitError(str(error)) from None
    except UnidentifiedImageError:
        raise ImageError("not a picture that Pillow can read") from None
    except _DAMAGED as error:
        raise ImageError(f"the picture is damaged: {error}") from None
    with image:
        return _from_pil(image)


def _from_pil(image: Image.Image) -> Picture:
    _check_size(*image.size)
    try:
        _warn_of_losses(image)
        image.load()
    except _DAMAGED as error:
        raise ImageError(f"the picture is damaged: {error}") from None
    icc = image.info.get("icc_profile") or None
    image, exif, xmp = _upright(image)
    if image.mode in _DEEP_MODES:
        transparent = image.info.get("transparency")
        deep = np.asarray(image)
        if image.mode == "F":
            warnings.warn("floating-point samples are reduced to 8 bits", stacklevel=3)
        image = Image.fromarray(_to_uint8(deep, transparent is None))
        if transparent is not None:
            image.putalpha(Image.fromarray(np.where(deep == transparent, 0, 255).astype(np.uint8)))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in _GREY_MODES else "RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.convert("L" if image.mode == "LA" else "RGB")
    image, icc = to_rgb_or_grey(image, icc)
    grey = image.mode == "L"
    pixels = np.array(image)
    rgb = np.repeat(pixels[:, :, None], 3, axis=2) if grey else pixels
    return Picture(rgb, grey, alpha, icc, exif, xmp)


def _warn_of_losses(image: Image.Image) -> None:
    # An MPO file is a photo with a second view or a preview behind it, not an animation.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        warnings.warn(f"only the first of {image.n_frames} frames is kept", stacklevel=4)  # type: ignore[attr-defined]
    _warn_of_depth(image)


@only_informs("looking for samples of more than 8 bits")
def _warn_of_depth(image: Image.Image) -> None:
    raw_modes = [mode for tile in getattr(image, "tile", ()) for mode in _strings(tile[3])]
    if any("16" in mode for mode in raw_modes) and image.mode not in _DEEP_MODES:
        warnings.warn("16 bits a sample are reduced to 8", stacklevel=6)


def _strings(value: object) -> Iterator[str]:
    """The strings in the arguments of a Pillow decoder: tuples in tuples, numbers among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _strings(part)


def _upright(image: Image.Image) -> tuple[Image.Image, bytes | None, bytes | None]:
    """The image with its orientation applied; EXIF with an orientation of 1 if any, XMP without one."""
    try:
        turned = ImageOps.exif_transpose(image)
        exif = turned.info.get("exif")
        if not isinstance(exif, bytes):  # PNG and TIFF keep it elsewhere
            exif = _exif_of_tiff(image) if image.format == "TIFF" else _serialised(turned.getexif())
    except _DAMAGED:
        warnings.warn("the EXIF data is damaged; it is left out", stacklevel=5)
        return image, None, None
    xmp = turned.info.get("xmp") or turned.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    xmp = _XMP_ORIENTATION.sub(b"", xmp) if isinstance(xmp, bytes) else None
    return turned, exif.removeprefix(EXIF_PREFIX) if exif else None, xmp or None


def _exif_of_tiff(image: Image.Image) -> bytes | None:
    """EXIF data of what a TIFF file says of its picture."""
    found, kept = image.getexif(), Image.Exif()
    kept.update({tag: found[tag] for tag in _TIFF_TAGS if tag in found})
    for directory in _SUB_DIRECTORIES:
        entries = found.get_ifd(directory)
        if entries:
            kept[directory] = dict(entries)
    return _serialised(kept)


def _serialised(exif: Image.Exif) -> bytes | None:
    return exif.tobytes() if len(exif) else None


def _from_tensor(tensor: Tensor) -> Picture:
    shape = tuple(tensor.shape)
    tensor = tensor.detach().cpu()
    if tensor.dim() == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() != 3 or not 1 <= tensor.shape[0] <= 4:
        raise ImageError(f"expected a tensor (C, H, W) or (1, C, H, W) with C from 1 to 4, found {shape}")
    tensor = tensor.float() if tensor.is_floating_point() else tensor  # NumPy has no bfloat16
    return _from_array(tensor.permute(1, 2, 0).numpy())


def _from_array(array: NDArray[Any]) -> Picture:
    shape = array.shape
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or 0 in shape:
        raise ImageError(f"expected an array (H, W) or (H, W, C) with C from 1 to 4, found {shape}")
    _check_size(array.shape[1], array.shape[0])
    pixels, channels = _to_uint8(array, True), array.shape[2]
    grey = channels < 3
    rgb = np.repeat(pixels[:, :, :1], 3, axis=2) if grey else np.ascontiguousarray(pixels[:, :, :3])
    return Picture(rgb, grey, pixels[:, :, -1].copy() if channels in (2, 4) else None)


def _to_uint8(values: NDArray[Any], warn: bool) -> NDArray[np.uint8]:
    """Samples of any supported type as 8 bits."""
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise ImageError("the picture has values that are not finite")
        if values.max() > 1.5:  # beyond any overshoot: somebody's 0..255
            raise ImageError(
                f"expected floating-point values in 0..1, found {values.max():g}; divide by the white level"
            )
        levels: NDArray[np.uint8] = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
        return levels
    if np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() <= 65_535:
        if values.dtype.itemsize > 2 and values.max() <= 255:
            return values.astype(np.uint8)
        if warn:
            warnings.warn("16 bits a sample are reduced to 8", stacklevel=5)
        return ((values.astype(np.uint32) * 255 + 32_767) // 65_535).astype(np.uint8)
    raise ImageError(f"samples of type {values.dtype} from {values.min()} to {values.max()} are not supported")


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"the picture has {width} x {height} pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise LimitError(
            f"a picture of {width} x {height} pixels; at most {MAX_SIDE} a side and {MAX_PIXELS} in all fit"
        )
