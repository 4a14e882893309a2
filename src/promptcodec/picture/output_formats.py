"""What the file formats that Pillow writes keep of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from promptcodec.bitstream.container import EXIF_PREFIX
from promptcodec.bitstream.contents import MAX_METADATA

_ALL = ("L", "LA", "RGB", "RGBA")
_MARKER = 65_533  # bytes in a segment of a JPEG file
_ICC_SEGMENTS = 255 * (_MARKER - 14)
_PNG_PROFILE = 2**20 - 1  # Pillow, among others, reads no larger one


@dataclass(frozen=True)
class Keeps:
    """What a format keeps.

    ``icc``, ``exif``, ``xmp``: bytes of the largest that it takes, 0 where it takes none. ``alpha``: "kept", "on or
    off", or "white" where the picture is laid on white. ``modes``: Pillow's, that its writer takes.
    ``max_side``: of the largest picture in pixels, where larger ones are scaled down.
    """

    icc: int = 0
    exif: int = 0
    xmp: int = 0
    alpha: Literal["kept", "on or off", "white"] = "white"
    modes: tuple[str, ...] = _ALL
    max_side: int | None = None


_JPEG = Keeps(_ICC_SEGMENTS, _MARKER - len(EXIF_PREFIX), _MARKER - 29, modes=("L", "RGB"))
_OPAQUE = Keeps(modes=("L", "RGB"))

FORMATS: dict[str, Keeps] = {
    "AVIF": Keeps(MAX_METADATA, MAX_METADATA, MAX_METADATA, "kept"),
    "BMP": _OPAQUE,  # of four channels readers take three
    "DDS": Keeps(alpha="kept"),
    "DIB": _OPAQUE,
    "EPS": _OPAQUE,
    "GIF": Keeps(alpha="on or off", modes=("L", "RGB", "RGBA")),
    "ICNS": Keeps(alpha="kept"),
    "ICO": Keeps(alpha="kept", max_side=256),
    "IM": Keeps(alpha="kept"),
    "JPEG": _JPEG,
    "JPEG2000": Keeps(alpha="kept"),
    "MPO": _JPEG,
    "PCX": _OPAQUE,
    "PDF": Keeps(alpha="kept"),
    "PNG": Keeps(_PNG_PROFILE, MAX_METADATA, MAX_METADATA, "kept"),
    "PPM": _OPAQUE,
    "QOI": Keeps(alpha="kept", modes=("RGB", "RGBA")),
    "SGI": Keeps(alpha="kept", modes=("L", "RGB", "RGBA")),
    "TGA": Keeps(alpha="kept"),
    "TIFF": Keeps(MAX_METADATA, MAX_METADATA, MAX_METADATA, "kept"),
    "WEBP": Keeps(MAX_METADATA, MAX_METADATA, MAX_METADATA, "kept"),
}
UNKNOWN = _OPAQUE  # of a plugin's format nothing is promised


def table() -> list[str]:
    """Return the lines of a Markdown table: a format a row, what becomes of each part of a picture."""
    from PIL import Image

    Image.init()
    lines = ["| format | extensions | ICC profile | EXIF | XMP | alpha |", "| --- | --- | --- | --- | --- | --- |"]
    for name, keeps in FORMATS.items():
        extensions = sorted(suffix for suffix, of in Image.registered_extensions().items() if of == name)
        profile = _limited(keeps.icc) if keeps.icc else "converted to sRGB"
        rest = [_limited(size) if size else "lost, with a warning" for size in (keeps.exif, keeps.xmp)]
        alpha = {"kept": "kept", "on or off": "on or off, with a warning if that loses something",
                 "white": "laid on white, with a warning"}[keeps.alpha]  # fmt: skip
        lines.append(f"| {' | '.join([name, ' '.join(extensions), profile, *rest, alpha])} |")
    return lines


def _limited(size: int) -> str:
    return "kept" if size == MAX_METADATA else f"kept up to {size:,} bytes"
