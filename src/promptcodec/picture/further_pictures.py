"""What a file holds beside the picture that is coded: frames, pages, views, layers, sizes, gain maps."""

from __future__ import annotations

from typing import Any

from PIL import Image

_GAIN_MAP_IN_XMP = b"hdrgm:Version"  # Ultra HDR
_GAIN_MAP_SEGMENT = b"urn:iso:std:iso:ts:21496:-1\0"  # ISO 21496-1
_AVIF_BRANDS = 512  # bytes at the start of a file that hold its brands


def lost_pictures(image: Image.Image) -> list[str]:
    """Return a sentence for each kind of further picture that coding ``image`` loses.

    To be called before it is loaded.
    """
    lost = []
    gain_map = _has_gain_map(image)
    if gain_map:
        lost.append("the gain map is left out: the picture keeps its standard range and loses its high dynamic range")
    frames, here = getattr(image, "n_frames", 1), image.tell()
    sizes = image.info.get("sizes", ()) if image.format in ("ICO", "ICNS", "CUR") else ()
    if image.format == "PSD":
        if frames > 1:
            lost.append(f"{frames} layers are merged into one picture")
    elif image.format == "MPO":
        if not gain_map and _has_other_views(image):
            lost.append(f"only picture {here + 1} of {frames} in this MPO file is kept")
    elif frames > 1:
        lost.append(f"only {'the first' if here == 0 else f'frame {here + 1}'} of {frames} frames is kept")
    elif len(sizes) > 1:
        lost.append(f"only the largest of {len(sizes)} sizes is kept")
    return lost


def _has_other_views(image: Image.Image) -> bool:
    """Return whether an MPO file holds more than its picture and that picture in small."""
    index: Any = getattr(image, "mpinfo", None) or {}
    kinds = [str(entry["Attribute"]["MPType"]) for entry in index.get(0xB002, ())]
    return not kinds or any(not kind.startswith("Large Thumbnail") for kind in kinds[1:])


def _has_gain_map(image: Image.Image) -> bool:
    if image.format in ("JPEG", "MPO"):
        segments = getattr(image, "applist", ())
        in_xmp = any(name == "APP1" and _GAIN_MAP_IN_XMP in content for name, content in segments)
        return in_xmp or any(name == "APP2" and content.startswith(_GAIN_MAP_SEGMENT) for name, content in segments)
    file = getattr(image, "fp", None)
    if image.format != "AVIF" or file is None or file.closed:
        return False
    file.seek(0)
    start = file.read(_AVIF_BRANDS)
    if start[4:8] != b"ftyp":
        return False
    brands = start[8 : int.from_bytes(start[:4], "big")]
    return any(brands[i : i + 4] == b"tmap" for i in range(0, len(brands), 4))
