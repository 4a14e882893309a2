"""Pictures from whatever people have: paths, files, PIL images, arrays, tensors; and to files."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from promptcodec.bitstream.container import MAX_PIXELS
from promptcodec.bitstream.contents import MAX_SIDE
from promptcodec.errors import ImageError, LimitError, UsageError
from promptcodec.picture.colour import to_rgb_or_grey
from promptcodec.picture.file_objects import checked, seekable
from promptcodec.picture.further_pictures import lost_pictures
from promptcodec.picture.netpbm import NetpbmHeader, read_netpbm, read_netpbm_header
from promptcodec.picture.picture import Picture
from promptcodec.picture.salvage import salvaged
from promptcodec.picture.sample_depth import in_eight_bits
from promptcodec.picture.samples import eight_bits, from_white
from promptcodec.picture.source_metadata import fitting_profile, icc_profile, tiff_metadata, upright
from promptcodec.picture.tiff_samples import TIFF_PREFIXES, rewritten
from promptcodec.picture.unread_profiles import UNREAD

if TYPE_CHECKING:
    from torch import Tensor

    Source = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | NDArray[Any] | Tensor | Picture

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
    AssertionError,
    struct.error,
    zlib.error,
)
_GREY_MODES = ("1", "L", "LA", "La")
_SIMPLE = (None, "JPEG")  # formats: none is that of images in memory
_PROFILE_ELSEWHERE = ("TIFF", *UNREAD)  # formats of whose ICC profiles Pillow may not tell
# Of an image's ``info``.
_SAMPLE_FACTS = frozenset({"transparency", "gamma", "chromaticity"})
_METADATA = frozenset({
    "exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp",
})  # fmt: skip


def read(source: Source, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from a path, encoded bytes, a binary file, a PIL image, an array or a tensor.

    One that is read already is returned as it is. Larger pictures than ``max_pixels`` are refused by their header.

    Arrays are (H, W), (H, W, 1), (H, W, 2), (H, W, 3) or (H, W, 4), tensors (C, H, W) or (1, C, H, W): grey, grey and
    alpha, RGB, RGBA. What their values mean is their type's affair, see ``samples.eight_bits``; what a file's samples
    mean stands in the file, see docs/pictures.md. Applies EXIF orientation.
    Warns where something is lost (16 bits, further frames). Raises ImageError, LimitError, UsageError, and OSError
    for files that cannot be opened.
    """
    most = min(max_pixels, MAX_PIXELS)
    if isinstance(source, Picture):
        _check_size(source.rgb.shape[1], source.rgb.shape[0], most)
        return source
    if isinstance(source, Image.Image):
        return _from_pil(source, most)
    if isinstance(source, np.ndarray):
        return _from_array(source, most)
    if isinstance(source, (bytes, bytearray, memoryview)):
        source = io.BytesIO(source)
    if isinstance(source, (str, os.PathLike)):
        with Path(source).open("rb") as file:
            return _from_file(seekable(file), most)
    if hasattr(source, "permute"):  # a tensor, told without importing torch
        return _from_tensor(cast("Tensor", source), most)
    if hasattr(source, "read"):
        return _from_file(seekable(checked(source)), most)
    raise UsageError(f"expected a path, file, bytes, PIL image, array or tensor, found {type(source).__name__}")


def _from_file(file: BinaryIO, max_pixels: int) -> Picture:
    begin = file.tell()
    is_netpbm = file.read(1) == b"P"
    file.seek(begin)
    header = read_netpbm_header(file) if is_netpbm else None
    file.seek(begin)
    if header is not None:
        return _from_netpbm(file, header, max_pixels)
    try:
        with _opened(file) as image:
            return _from_pil(image, max_pixels)
    except ImageError:
        file.seek(begin)
        saved = salvaged(file.read())
        if saved is None:
            raise
    with _opened(io.BytesIO(saved.data)) as image:
        image.info.update(saved.recovered)
        for name in saved.left_out:
            warnings.warn(f"the {name} cannot be read; left out", stacklevel=4)
        return _from_pil(image, max_pixels)


def _opened(file: BinaryIO) -> Image.Image:
    begin = file.tell()
    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        raise LimitError(str(error)) from None
    except UnidentifiedImageError:
        file.seek(begin)
        if file.read(4) not in TIFF_PREFIXES:
            raise ImageError("not a picture that Pillow can read") from None
        file.seek(begin)
        return _opened_tiff(file)
    except _DAMAGED as error:
        raise ImageError(f"the picture is damaged: {error}") from None


def _from_netpbm(file: BinaryIO, header: NetpbmHeader, max_pixels: int) -> Picture:
    _check_size(header.width, header.height, max_pixels)
    values = read_netpbm(file, header)
    if re.fullmatch(rb"P[1-7Ff]\s", file.read(3)):
        warnings.warn("only the first picture of several in the file is kept", stacklevel=4)
    if header.white is None:
        warnings.warn("floating-point samples are reduced to 8 bits", stacklevel=4)
    return _from_levels(eight_bits(values) if header.white is None else from_white(values, header.white))


def _opened_tiff(file: BinaryIO) -> Image.Image:
    """Open a TIFF file of samples that Pillow does not read."""
    try:
        return Image.open(rewritten(file))
    except Image.DecompressionBombError as error:
        raise LimitError(str(error)) from None
    except _DAMAGED as error:
        raise ImageError(f"the picture is damaged: {error}") from None


def _from_pil(image: Image.Image, max_pixels: int) -> Picture:
    _check_size(*image.size, max_pixels)
    icc = exif = xmp = alpha = None
    try:
        further = _further_pictures(image) if _may_hold_more(image) else ()
        tiff = tiff_metadata(image) if image.format == "TIFF" else None
        if "icc_profile" in image.info or image.format in _PROFILE_ELSEWHERE:
            icc = icc_profile(image, tiff)
        if _has_plain_samples(image, icc):
            image.load()
        else:
            image = in_eight_bits(image, icc)
            icc = image.info.get("icc_profile") or None
    except _DAMAGED as error:
        raise ImageError(f"the picture is damaged: {error}") from None
    for loss in further:
        warnings.warn(loss, stacklevel=3)
    if _may_have_metadata(image):
        image, exif, xmp = upright(image, tiff)
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in _GREY_MODES else "RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.convert("L" if image.mode == "LA" else "RGB")
    if icc is not None or image.mode not in ("L", "RGB"):
        image, icc = fitting_profile(*to_rgb_or_grey(image, icc))
    grey = image.mode == "L"
    pixels = np.array(image)
    rgb = np.repeat(pixels[:, :, None], 3, axis=2) if grey else pixels
    return Picture(rgb, grey, alpha, icc, exif, xmp)


# What a picture is made of is told in many places by files of many formats, and by few of them in JPEG files and images
# in memory. The three tests below say where there is nothing to look for.


def _may_hold_more(image: Image.Image) -> bool:
    """Return whether the file may hold more pictures than this one."""
    return image.format is not None and (image.format != "JPEG" or _has_segments(image, "APP1", "APP2"))


def _has_plain_samples(image: Image.Image, icc: bytes | None) -> bool:
    """Return whether the samples are 8 bits of grey or RGB to start with, which no transparent colour and no curve
    changes.
    """
    plain = image.mode == "RGB" or (image.mode == "L" and icc is None)
    return plain and image.format in _SIMPLE and _SAMPLE_FACTS.isdisjoint(image.info)


def _may_have_metadata(image: Image.Image) -> bool:
    """Return whether there may be EXIF data, XMP or an orientation, in the file or set in memory."""
    if image.format not in _SIMPLE or _has_segments(image, "APP1"):
        return True
    return not _METADATA.isdisjoint(image.info) or bool(image.getexif())


def _has_segments(image: Image.Image, *names: str) -> bool:
    return any(name in names for name, _ in getattr(image, "applist", ()))


def _further_pictures(image: Image.Image) -> Sequence[str]:
    """Return what the file holds beside its picture; nothing where that cannot be told: it only informs."""
    try:
        return lost_pictures(image)
    except _DAMAGED:
        return ()


def _from_tensor(tensor: Tensor, max_pixels: int) -> Picture:
    shape = tuple(tensor.shape)
    tensor = tensor.detach().cpu()
    if tensor.dim() == 4 and shape[0] == 1:
        tensor = tensor[0]
    if tensor.dim() != 3 or not 1 <= tensor.shape[0] <= 4:
        raise ImageError(f"expected a tensor (C, H, W) or (1, C, H, W) with C from 1 to 4, found {shape}")
    tensor = tensor.float() if tensor.is_floating_point() else tensor  # NumPy has no bfloat16
    return _from_array(tensor.permute(1, 2, 0).numpy(), max_pixels)


def _from_array(array: NDArray[Any], max_pixels: int) -> Picture:
    shape = array.shape
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or 0 in shape:
        raise ImageError(f"expected an array (H, W) or (H, W, C) with C from 1 to 4, found {shape}")
    _check_size(array.shape[1], array.shape[0], max_pixels)
    return _from_levels(eight_bits(array))


def _from_levels(pixels: NDArray[np.uint8]) -> Picture:
    """Make a picture of 8-bit samples (H, W, C)."""
    channels = pixels.shape[2]
    grey = channels < 3
    rgb = np.repeat(pixels[:, :, :1], 3, axis=2) if grey else np.ascontiguousarray(pixels[:, :, :3])
    return Picture(rgb, grey, pixels[:, :, -1].copy() if channels in (2, 4) else None)


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"the picture has {width} x {height} pixels")
    if max(width, height) > MAX_SIDE or width * height > max_pixels:
        raise LimitError(
            f"a picture of {width} x {height} pixels; at most {MAX_SIDE} a side and {max_pixels} in all fit"
        )
