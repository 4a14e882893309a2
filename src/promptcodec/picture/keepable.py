"""A picture as a file format can keep it, with a warning for each part that it cannot."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from promptcodec.bitstream.container import EXIF_PREFIX
from promptcodec.picture.output_formats import FORMATS, UNKNOWN
from promptcodec.picture.picture import Picture
from promptcodec.picture.srgb import in_srgb
from promptcodec.picture.xmp import as_text


def keepable(picture: Picture, name: str) -> Picture:
    """Reduce a picture to what Pillow's format ``name`` keeps; the warnings say what it does not.

    Colours become sRGB where the format has no room for their profile. Transparent pixels are laid on white where it
    has no alpha, as browsers and viewers show them.
    """
    keeps = FORMATS.get(name, UNKNOWN)
    if picture.icc is not None and len(picture.icc) > keeps.icc:
        if keeps.icc:
            _warn(f"the ICC profile is too large for a {name} file; the colours are converted to sRGB")
        picture = in_srgb(picture)
    lost = []
    if picture.exif is not None and len(picture.exif) > keeps.exif:
        lost.append("EXIF data" if not keeps.exif else f"EXIF data of more than {keeps.exif:,} bytes")
        picture = replace(picture, exif=None)
    if picture.xmp is not None and len(picture.xmp) > keeps.xmp:
        lost.append("XMP" if not keeps.xmp else f"XMP of more than {keeps.xmp:,} bytes")
        picture = replace(picture, xmp=None)
    elif picture.xmp is not None and name == "PNG" and as_text(picture.xmp) is None:
        lost.append("XMP that is no Unicode")
        picture = replace(picture, xmp=None)
    if lost:
        _warn(f"{name} files keep no {' and no '.join(lost)}; left out")
    if picture.alpha is not None and keeps.alpha == "white":
        _warn(f"{name} keeps no transparency: the picture is laid on white")
        picture = _on_white(picture)
    elif picture.alpha is not None and keeps.alpha == "on or off" and not np.isin(picture.alpha, (0, 255)).all():
        _warn(f"{name} keeps transparency only as on or off")
    if keeps.max_side is not None and max(picture.rgb.shape[:2]) > keeps.max_side:
        _warn(f"{name} files hold at most {keeps.max_side} pixels a side: the picture is scaled down")
    return picture


def attempts(picture: Picture) -> Iterator[tuple[Picture, str]]:
    """Yield the picture, then versions with less metadata for the writer to fall back on, and the names of the rest."""
    yield picture, ""
    if picture.exif is not None:
        yield replace(picture, exif=None), "EXIF data"
    if picture.xmp is not None:
        yield replace(picture, xmp=None), "XMP"
    if picture.exif is not None and picture.xmp is not None:
        yield picture.stripped(), "EXIF data and XMP"
    if picture.icc is not None:
        yield in_srgb(picture), "ICC profile, whose colours are converted to sRGB"
        if picture.exif is not None or picture.xmp is not None:
            yield in_srgb(picture.stripped()), "metadata, and the colours are converted to sRGB"


def to_mode(picture: Picture, name: str) -> Image.Image:
    """Return a PIL image without metadata, in a mode that Pillow's writer of format ``name`` takes."""
    image = Image.fromarray(picture.rgb[:, :, 0] if picture.grey else picture.rgb)
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    modes = FORMATS[name].modes if name in FORMATS else (image.mode,)
    if image.mode not in modes:
        image = image.convert("RGB" if picture.alpha is None else "RGBA")
    return image


def metadata_options(picture: Picture, name: str) -> dict[str, Any]:
    """Return options by which Pillow's writer of format ``name`` takes metadata; TIFF's takes neither EXIF nor XMP."""
    options: dict[str, Any] = {}
    if picture.icc is not None:
        options["icc_profile"] = picture.icc
    if picture.exif is not None and name != "TIFF":
        options["exif"] = _Verbatim(picture.exif) if name == "AVIF" else EXIF_PREFIX + picture.exif
    if picture.xmp is not None and name == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", as_text(picture.xmp) or "")
    elif picture.xmp is not None and name != "TIFF":
        options["xmp"] = picture.xmp
    return options


class _Verbatim(Image.Exif):
    """EXIF data of which Pillow sees no orientation, so that it does not write all tags anew."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._verbatim = data

    def __bool__(self) -> bool:
        return True

    def tobytes(self, offset: int = 8) -> bytes:
        return EXIF_PREFIX + self._verbatim


def _on_white(picture: Picture) -> Picture:
    assert picture.alpha is not None
    image = Image.fromarray(picture.rgb)
    image.putalpha(Image.fromarray(picture.alpha))
    white = Image.new("RGBA", image.size, "white")
    return replace(picture, rgb=np.asarray(Image.alpha_composite(white, image).convert("RGB")), alpha=None)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=5)
