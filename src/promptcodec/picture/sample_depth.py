"""Pictures that Pillow opens, brought to 8 bits a sample by what their files say of depth, transparency and gamma."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from promptcodec.errors import ImageError
from promptcodec.picture.boxes import boxes, first_box
from promptcodec.picture.colour import grey_table, space_of
from promptcodec.picture.colour_codes import ColourCodes, Primaries, from_codes, from_gamma, gamma_table
from promptcodec.picture.jpeg2000 import read_jpeg2000
from promptcodec.picture.jpeg2000 import reduced as reduced_jpeg2000
from promptcodec.picture.samples import eight_bits, table, warn_of_darkness, warn_of_depth
from promptcodec.picture.tiff_samples import is_misread, rewritten

Levels = Callable[[int], NDArray[np.uint8]]  # levels of 0..white, given white

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP_RAW_MODE = re.compile(r";16[BLN]?S?$|^SGI16$")
_PIXELS_OF_16_BITS = ("BGR;16", "RGB;16", "BGRA;16", "RGBA;16")  # of all channels together
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
_SIGNED = 2  # of TIFF's SampleFormat
_WHITE_IS_ZERO = 0  # of TIFF's PhotometricInterpretation


def in_eight_bits(image: Image.Image, icc: bytes | None = None) -> Image.Image:
    """Load an image and return it with 8 bits a sample: mode 1, L, LA, P, PA, RGB, RGBA, CMYK, LAB and the like.

    ``icc``: the profile, where it is not that of ``image.info``.

    Metadata stay. Grey pictures lose their ICC profile, which has been applied; a gamma has been applied as well, and
    primaries have become an ICC profile. Transparent colours have become an alpha channel. Warns of what is lost.
    Raises ImageError for samples that have no defined black and white, and whatever Pillow raises for damaged files.
    """
    facts = _facts(image)
    image = facts.image
    raw_modes = list(_raw_modes(image))
    key = _transparent_colour(image, raw_modes)
    low = _low_bytes(image, raw_modes)
    white, depth = facts.white, _depth(image, raw_modes)
    image.load()
    stated = image.info.get("icc_profile")
    icc = facts.icc or icc or (stated if isinstance(stated, bytes) else None)
    codes = ColourCodes() if icc else facts.codes or _codes_of(image)
    icc = icc or codes.icc
    grey = image.mode in (*DEEP_MODES, "1", "L", "LA", "La") or "LA;16B" in raw_modes
    levels: Levels | None = None
    if codes.gamma is not None:
        gamma = codes.gamma
        levels = lambda white: gamma_table(gamma, white)  # noqa: E731
    elif grey and icc and space_of(icc) in (b"GRAY", b"RGB "):
        profile = icc
        levels = lambda white: grey_table(profile, white)  # noqa: E731
    if grey and (codes.icc is not None or levels is not None):
        icc = None  # applied, or of colours that grey has none of
    if image.mode in DEEP_MODES:
        samples = _deep_samples(image, white, facts.bits)
        result = _from_samples(samples, white, levels, key)
    elif low is not None:
        samples = low(np.asarray(image))
        warn_of_depth(16)
        warn_of_darkness(samples, 65_535)
        result = _from_samples(samples, 65_535, levels, key)
    else:
        if depth > 8:
            warn_of_depth(depth)
        result = _with_key(image, key) if key is not None else image
        result = _with_levels(result, levels) if levels is not None else result
    if result is image and icc == stated:
        return image
    return _with_pixels(image, result, icc)


@dataclass(frozen=True)
class _Facts:
    """What a file says of its samples before they are loaded, and the image to load them from.

    ``white``: the brightest sample of deep modes, of ``bits``. ``codes`` and ``icc``: what Pillow does not tell of
    colours, or None.
    """

    image: Image.Image
    white: int = 65_535
    bits: int = 16
    codes: ColourCodes | None = None
    icc: bytes | None = None


def _facts(image: Image.Image) -> _Facts:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _tiff_facts(image)
    if image.format == "FITS" and image.mode in DEEP_MODES:
        raise ImageError("a FITS file's samples have no defined black and white; convert them to 8 bits")
    if not _is_unloaded(image):
        return _Facts(image)
    if image.format == "PNG":
        return _Facts(image, codes=_png_codes(image))
    if image.format == "AVIF" and not image.info.get("icc_profile"):
        return _Facts(image, codes=_avif_codes(_file_of(image)))
    return _jpeg2000_facts(image) if image.format == "JPEG2000" else _Facts(image)


def _jpeg2000_facts(image: Image.Image) -> _Facts:
    file = read_jpeg2000(_file_of(image))
    if file is None:
        return _Facts(image)
    if file.bits > 8 and image.mode not in ("P", "PA", *DEEP_MODES):
        warn_of_depth(file.bits)
        image = reduced_jpeg2000(file)
    return _Facts(image, file.white, file.bits, icc=file.icc)


def _is_unloaded(image: Image.Image) -> bool:
    return bool(getattr(image, "tile", None)) and getattr(image, "fp", None) is not None


def _file_of(image: Image.Image) -> bytes:
    """Return all bytes of the file that an image has not been loaded from yet."""
    if not _is_unloaded(image):
        raise ImageError(f"Pillow misreads {image.format} files of this kind; give the file itself instead of an image")
    file = cast("BinaryIO", image.fp)  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(position)
    return data


def _raw_modes(image: Image.Image) -> Iterator[str]:
    """Yield the names of the layouts that Pillow's decoders are told to expect, where an image has not been loaded."""

    def words(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (tuple, list)):
            for part in value:
                yield from words(part)

    for tile in getattr(image, "tile", None) or ():
        yield from words(tile[0])
        yield from words(tile[3] if len(tile) > 3 else None)


def _depth(image: Image.Image, raw_modes: list[str]) -> int:
    """Return the bits a sample as stored, of what Pillow reduces to 8 without a word; 8 where it is not known."""
    if any(_DEEP_RAW_MODE.search(mode) and mode not in _PIXELS_OF_16_BITS for mode in raw_modes):
        return 16
    if image.format == "PPM" and image.mode == "RGB":
        largest = [tile[3][-1] for tile in getattr(image, "tile", None) or () if isinstance(tile[3], tuple)]
        return max((value.bit_length() for value in largest if isinstance(value, int)), default=8)
    if image.format == "HEIF" and isinstance(image.info.get("bit_depth"), int):  # by the plugin of pillow-heif
        return int(image.info["bit_depth"])
    if image.format == "AVIF" and _is_unloaded(image):
        return _avif_depth(_file_of(image))
    return 8


def _tiff_facts(image: TiffImagePlugin.TiffImageFile) -> _Facts:
    if is_misread(image):
        return _Facts(Image.open(rewritten(io.BytesIO(_file_of(image)))))
    formats = set(np.atleast_1d(image.tag_v2.get(339, 1)).tolist())
    if _SIGNED in formats:
        raise ImageError(
            "a TIFF file of signed samples (SampleFormat 2), which have no defined black and white; convert them to "
            "unsigned ones"
        )
    bits = int(np.atleast_1d(image.tag_v2.get(258, 16))[0])
    return _Facts(image, 2**bits - 1, bits)


def _deep_samples(image: Image.Image, white: int, bits: int) -> NDArray[np.uint16]:
    """Return the samples (H, W, 1) from 0 to ``white``, or to 65,535 where white is above that or floating point."""
    values = np.asarray(image)
    inverted = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262, 0) == _WHITE_IS_ZERO
    if image.mode == "F":
        warnings.warn("floating-point samples are reduced to 8 bits", stacklevel=3)
        eight_bits(values)  # checks
        values, white = np.rint(np.clip(values, 0, 1) * 65_535), 65_535
    elif white > 65_535:
        warn_of_depth(bits)
        values = values.astype(np.int32).view(np.uint32)
        warn_of_darkness(values, white)
        values, white = values >> np.uint32(16), 65_535
    else:
        if values.min() < 0 or values.max() > white:
            raise ImageError(
                f"samples from {values.min()} to {values.max()} in mode {image.mode}, expected 0 to {white} (white); "
                "convert the image to mode L or I;16, whose white is defined"
            )
        warn_of_depth(bits)
        warn_of_darkness(values, white)
    samples = values.astype(np.uint16)[:, :, None]
    return white - samples if inverted else samples


def _from_samples(
    samples: NDArray[np.uint16], white: int, levels: Levels | None, key: tuple[int, ...] | None
) -> Image.Image:
    """Return an image of mode L, LA, RGB or RGBA of exact samples (H, W, C)."""
    white = min(white, 65_535)
    channels = samples.shape[2]
    colours = channels - (channels in (2, 4))
    pixels = (table(white) if levels is None else levels(white))[samples[:, :, :colours]]
    alpha = table(white)[samples[:, :, colours:]]
    if key is not None and channels == colours:
        alpha = np.where((samples == key).all(axis=2), np.uint8(0), np.uint8(255))[:, :, None]
    image = Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if colours == 1 else pixels))
    if alpha.shape[2]:
        image.putalpha(Image.fromarray(np.ascontiguousarray(alpha[:, :, 0])))
    return image


def _transparent_colour(image: Image.Image, raw_modes: list[str]) -> tuple[int, ...] | None:
    """Return the one transparent colour of a PNG file, in samples as Pillow loads them; None of other pictures."""
    value = image.info.get("transparency")
    if image.mode not in ("1", "L", "RGB", "I", "I;16", "I;16B") or value is None or isinstance(value, bytes):
        return None
    colour = (value,) if isinstance(value, int) else tuple(value)
    if image.mode in DEEP_MODES or any(mode.endswith(";16B") for mode in raw_modes):
        return colour
    for mode, bits in (("L;2", 2), ("L;4", 4)):
        if mode in raw_modes:  # the lower bits count, and Pillow has spread the samples over 0..255
            return tuple((part & 2**bits - 1) * (255 // (2**bits - 1)) for part in colour)
    return tuple(part & 255 for part in colour)


def _low_bytes(image: Image.Image, raw_modes: list[str]) -> Callable[[NDArray[Any]], NDArray[Any]] | None:
    """Return a function that completes the higher bytes of 16-bit samples, all that Pillow takes of a PNG file.

    The lower ones are what the same decoder takes for the higher in the other byte order.
    """
    names = {mode for mode in raw_modes if mode in _LOW_BYTES or mode == "LA;16B"}
    if image.format != "PNG" or not names or not _is_unloaded(image):
        return None
    file = cast("BinaryIO", image.fp)  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    try:
        other = cast("Any", Image.open(file))
        if "LA;16B" in names:  # two channels of two bytes, as four of one
            other.tile = [tile._replace(args="RGBA") for tile in other.tile]
            parts = np.asarray(other).astype(np.uint16)
            return lambda high: parts[:, :, ::2] << 8 | parts[:, :, 1::2]
        other.tile = [tile._replace(args=_LOW_BYTES[tile.args]) for tile in other.tile]
        lower = np.asarray(other)
        return lambda high: high.astype(np.uint16) << 8 | lower
    finally:
        file.seek(position)


def _with_key(image: Image.Image, key: tuple[int, ...]) -> Image.Image:
    image_of = image.convert("L") if image.mode == "1" else image
    pixels = np.asarray(image_of)
    alpha = np.where((np.atleast_3d(pixels) == key).all(axis=2), np.uint8(0), np.uint8(255))
    result = Image.fromarray(pixels)
    result.putalpha(Image.fromarray(alpha))
    return result


def _with_levels(image: Image.Image, levels: Levels) -> Image.Image:
    if image.mode in ("P", "PA", "1", "La", "RGBa"):
        transparent = image.has_transparency_data
        grey = image.mode in ("1", "La")
        image = image.convert(("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB"))
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        return image
    colours = 1 if image.mode in ("L", "LA") else 3
    alpha = list(range(256)) if image.mode.endswith("A") else []
    return image.point(levels(255).tolist() * colours + alpha)


def _with_pixels(image: Image.Image, pixels: Image.Image, icc: bytes | None) -> Image.Image:
    """Return an image like ``image``, of its class and with its metadata, but with other pixels."""
    result = object.__new__(type(image))
    result.__dict__.update(image.__dict__)
    result.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
    if icc:
        result.info["icc_profile"] = icc
    if pixels is not image:
        if pixels.mode not in ("P", "PA"):
            result.info.pop("transparency", None)
            result.palette = None
        result.im, result._mode = pixels.im, pixels.mode
    return result


def _codes_of(image: Image.Image) -> ColourCodes:
    """Read gAMA and cHRM of a PNG file, which count where nothing above them does."""
    if "srgb" in image.info:
        return ColourCodes()
    gamma, primaries = image.info.get("gamma"), image.info.get("chromaticity")
    return from_gamma(
        float(gamma) if isinstance(gamma, (int, float)) else None,
        cast("Primaries", tuple(primaries)) if isinstance(primaries, tuple) and len(primaries) == 8 else None,
    )


def _png_codes(image: Image.Image) -> ColourCodes | None:
    """Read the chunk cICP, which goes before all others and which Pillow passes over."""
    file = cast("BinaryIO", image.fp)  # type: ignore[attr-defined]
    position = file.tell()
    try:
        file.seek(8)
        while True:
            head = file.read(8)
            if len(head) < 8:
                return None
            length, kind = struct.unpack(">I4s", head)
            if kind == b"IDAT":
                return None
            if kind == b"cICP" and length == 4:
                primaries, transfer, _, full = file.read(4)
                if not full:
                    warnings.warn("samples of narrow range (cICP) are kept as if of full range", stacklevel=4)
                return from_codes(primaries, transfer)
            file.seek(length + 4, 1)
    finally:
        file.seek(position)


def _avif_properties(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    span = first_box(data, (b"meta", b"iprp", b"ipco"), (4, 0, 0))
    for kind, begin, end in boxes(data, *span) if span is not None else ():
        yield kind, data[begin:end]


def _avif_codes(data: bytes) -> ColourCodes | None:
    for kind, value in _avif_properties(data):
        if kind == b"colr" and value[:4] == b"nclx" and len(value) >= 8:
            return from_codes(*struct.unpack_from(">HH", value, 4))
    return None


def _avif_depth(data: bytes) -> int:
    depths = [8]
    for kind, value in _avif_properties(data):
        if kind == b"av1C" and len(value) >= 3 and value[2] & 0x40:
            depths.append(12 if value[2] & 0x20 else 10)
    return max(depths)
