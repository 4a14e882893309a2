"""What a PIL image says of its picture, cleaned for a file: upright, and nothing that no reader can parse.

ICC profile, EXIF and XMP are judged apart, and what is dropped is named in one warning. None of them decides whether a
picture can be coded.
"""

from __future__ import annotations

import struct
import warnings
from typing import Any

from PIL import ExifTags, Image

from promptcodec.bitstream.container import EXIF_PREFIX
from promptcodec.bitstream.contents import MAX_METADATA
from promptcodec.picture import exif as exif_data
from promptcodec.picture import xmp as xmp_data
from promptcodec.picture.exif import TiffMetadata
from promptcodec.picture.srgb import through_profile
from promptcodec.picture.unread_profiles import UNREAD, unread_profile

_ORIENTATION = ExifTags.Base.Orientation
_SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, struct.error)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"


def tiff_metadata(image: Image.Image) -> TiffMetadata | None:
    """Read the metadata in the directory of a TIFF file.

    To be called before the image is loaded, which may close its file.

    None where the image is no TIFF file, has been loaded, or holds what cannot be read.
    """
    file = getattr(image, "fp", None)
    if image.format != "TIFF" or file is None:
        return None
    if not isinstance(image.info.get("xmp", b""), bytes):  # a tag of another type, over which Pillow stumbles
        del image.info["xmp"]
    try:
        return exif_data.of_tiff(file, image.tag_v2.offset)  # type: ignore[attr-defined]
    except (ValueError, OSError, struct.error):
        return None


def icc_profile(image: Image.Image, tiff: TiffMetadata | None) -> bytes | None:
    """Return the ICC profile, whether or not it is one. To be called before the image is loaded, which may close its
    file.
    """
    icc: object = image.info.get("icc_profile") or None
    if icc is None and image.format in UNREAD:
        icc = unread_profile(image)
    if not isinstance(icc, bytes) and tiff is not None:
        icc = tiff.icc
    if isinstance(icc, bytes):
        return icc or None
    if "icc_profile" in image.info:
        _warn("the ICC profile cannot be read; it is left out and sRGB assumed")
    return None


def fitting_profile(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """Return the image and its profile; converted to sRGB and without it where it is larger than a file takes."""
    if icc is None or len(icc) <= MAX_METADATA:
        return image, icc
    _warn(f"the ICC profile has {len(icc):,} bytes, more than a file takes; the colours are converted to sRGB")
    return through_profile(image, icc) or image, None


def upright(image: Image.Image, tiff: TiffMetadata | None) -> tuple[Image.Image, bytes | None, bytes | None]:
    """Return a loaded image with its orientation applied, its EXIF data and its XMP, both with an orientation of 1 if
    any.

    Values out of 1 to 8 count as 1. EXIF data says it, XMP where that does not. Every other byte of EXIF data stays;
    that of TIFF files is made of their tags.
    """
    xmp, by_xmp = _xmp(image, tiff)
    exif, by_exif = _exif(image, tiff)
    if image.format == "TIFF":  # turned as Pillow loaded it
        return image, exif, xmp
    try:
        orientation: Any = image.getexif().get(_ORIENTATION)  # where it was set in memory counts as well
    except _UNREADABLE:
        orientation = by_exif
    if not isinstance(orientation, (int, float)):
        orientation = by_xmp if by_exif is None else by_exif
    turn = next((turn for number, turn in _TURNS.items() if number == orientation), None)
    return (image if turn is None else image.transpose(turn)), exif, xmp


def _exif(image: Image.Image, tiff: TiffMetadata | None) -> tuple[bytes | None, int | None]:
    try:
        data = _exif_bytes(image, tiff)
        while data is not None and data.startswith(EXIF_PREFIX):
            data = data.removeprefix(EXIF_PREFIX)
        if not data:
            return None, None
        cleaned = exif_data.set_upright(data)
    except _UNREADABLE:
        _warn("the EXIF data cannot be read; it is left out")
        return None, None
    if len(data) > MAX_METADATA:
        _warn(f"the EXIF data has {len(data):,} bytes, more than a file takes; it is left out")
        return None, cleaned[1]
    if tiff is not None and not tiff.complete:
        _warn("parts of the EXIF data cannot be read; they are left out")
    return cleaned


def _exif_bytes(image: Image.Image, tiff: TiffMetadata | None) -> bytes | None:
    if tiff is not None:
        return tiff.exif
    exif: object = image.info.get("exif")
    if image.format == "AVIF" and isinstance(exif, bytes):
        exif = _as_in_file(image) or exif
    if isinstance(exif, bytes):
        return exif
    for name in ("Raw profile type exif", "Raw profile type APP1"):  # text in PNG files
        raw = _raw_profile(image, name)
        if raw is not None and raw.startswith((EXIF_PREFIX, b"II", b"MM")):
            return raw
    tags = exif if isinstance(exif, Image.Exif) else image.getexif()
    return None if set(tags) <= {_ORIENTATION} and exif is None else _serialised(tags, image.format == "TIFF")


def _as_in_file(image: Image.Image) -> bytes | None:
    """Return the EXIF data of an AVIF file before Pillow writes it anew with the orientation of the file's own
    properties.
    """
    try:
        exif: Any = image._decoder.get_info()[4]  # type: ignore[attr-defined]
    except _UNREADABLE:
        return None
    return exif if isinstance(exif, bytes) else None


def _raw_profile(image: Image.Image, name: str) -> bytes | None:
    """Return the bytes of a profile in the text of a PNG file, as ImageMagick writes them. Raises ValueError."""
    text: object = image.info.get(name)
    if not isinstance(text, str):
        return None
    return bytes.fromhex("".join(text.strip().split("\n")[2:]))


def _serialised(exif: Image.Exif, is_tiff: bool) -> bytes | None:
    """Return the EXIF data of tags in memory.

    Text becomes the bytes that Pillow reads it from, or UTF-8 where there are none.
    """
    kept = Image.Exif()
    for tag in exif:
        if tag not in _SUB_DIRECTORIES and not (is_tiff and exif_data.is_layout(tag)):
            kept[tag] = _as_bytes(exif[tag])
    for tag in _SUB_DIRECTORIES:
        entries = exif.get_ifd(tag)
        if entries:
            kept[tag] = {key: _as_bytes(value) for key, value in entries.items()}
            if ExifTags.IFD.Interop in entries and tag == ExifTags.IFD.Exif:
                interop = exif.get_ifd(ExifTags.IFD.Interop)
                kept[tag][ExifTags.IFD.Interop] = {key: _as_bytes(value) for key, value in interop.items()}
    return kept.tobytes() if len(kept) else None


def _as_bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode()


def _xmp(image: Image.Image, tiff: TiffMetadata | None) -> tuple[bytes | None, int | None]:
    if any(name == "APP1" and content.startswith(_EXTENDED_XMP) for name, content in getattr(image, "applist", ())):
        _warn("the XMP beyond its first 64 KB (extended XMP) is left out")
    try:
        data: object = tiff.xmp if tiff is not None else None
        if not data:
            data = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
            data = data or _raw_profile(image, "Raw profile type xmp")
        if not data:
            return None, None
        cleaned = xmp_data.set_upright(data if isinstance(data, bytes) else str(data).encode())
    except _UNREADABLE:
        _warn("the XMP cannot be read; it is left out")
        return None, None
    if len(cleaned[0]) > MAX_METADATA:
        _warn(f"the XMP has {len(cleaned[0]):,} bytes, more than a file takes; it is left out")
        return None, cleaned[1]
    return cleaned


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=6)
