"""The extensions of files that are read as pictures."""

from __future__ import annotations

from functools import cache

# Pillow knows the extensions of these and opens them with programs that are elsewhere, if at all; or they are data
# or drawings rather than pictures. Named files of these kinds are tried.
_NO_PICTURES = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "PTC", "WMF"})


@cache
def picture_extensions() -> frozenset[str]:
    """Return all extensions of pictures that Pillow reads, such as ``.png``."""
    from PIL import Image

    Image.init()
    readable = set(Image.OPEN) - _NO_PICTURES | {"MPO"}  # which is opened as JPEG
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)
