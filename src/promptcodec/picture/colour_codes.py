"""Colour that a file describes by numbers instead of a profile: gamma, primaries, and the codes of ITU-T H.273.

What is kept is sRGB's tone curve: samples of another gamma are converted to it. Other primaries become an ICC profile.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Primaries = tuple[float, float, float, float, float, float, float, float]  # x and y of white, red, green and blue

SRGB: Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_OF_CODE: dict[int, Primaries] = {  # H.273, table 2
    1: SRGB,
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (0.3127, 0.3290, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (0.3127, 0.3290, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_GAMMA_OF_CODE = {4: 1 / 2.2, 5: 1 / 2.8, 8: 1.0}  # H.273, table 3; video's curves are shown as sRGB by convention
_HDR = {16: "PQ", 18: "HLG"}
_GAMMA_OF_SRGB, _SAME_GAMMA = 1 / 2.2, 0.05  # relative; decoders take what is as near for sRGB's own curve
_SAME_PRIMARIES = 0.005
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class ColourCodes:
    """``gamma``: the exponent that made samples of light, None for sRGB's curve. ``icc``: a profile of the primaries
    with sRGB's curve, None for sRGB's primaries."""

    gamma: float | None = None
    icc: bytes | None = None


def from_gamma(gamma: float | None, primaries: Primaries | None) -> ColourCodes:
    """Read what a PNG file says in gAMA and cHRM; numbers that describe no colours are left out with a warning."""
    if gamma is not None and not 0.05 <= gamma <= 20:
        warnings.warn(f"a gamma of {gamma:g} is left out, and sRGB assumed", stacklevel=2)
        gamma = None
    if gamma is not None and abs(gamma / _GAMMA_OF_SRGB - 1) <= _SAME_GAMMA:
        gamma = None
    return ColourCodes(gamma, None if primaries is None else _profile_unless_srgb(primaries))


def from_codes(primaries: int, transfer: int) -> ColourCodes:
    """Read the codes of H.273, as PNG (cICP) and AVIF (nclx) files hold them."""
    if transfer in _HDR:
        warnings.warn(
            f"the picture is HDR ({_HDR[transfer]}), which is not supported: its samples are kept as if they were "
            "sRGB, and look flat; convert it to SDR before",
            stacklevel=2,
        )
    chromaticities = _OF_CODE.get(primaries)
    icc = None if chromaticities is None else _profile_unless_srgb(chromaticities)
    return ColourCodes(from_gamma(_GAMMA_OF_CODE.get(transfer), None).gamma, icc)


def gamma_table(gamma: float, white: int) -> NDArray[np.uint8]:
    """Return uint8 (white + 1): sRGB's level for every sample, where samples are light to the power of ``gamma``."""
    light = (np.arange(white + 1) / white) ** (1 / gamma)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(255 * encoded).astype(np.uint8)
    return levels


def _profile_unless_srgb(primaries: Primaries) -> bytes | None:
    if max(abs(a - b) for a, b in zip(primaries, SRGB, strict=True)) <= _SAME_PRIMARIES:
        return None
    try:
        return profile_of(primaries)
    except (np.linalg.LinAlgError, ZeroDivisionError, ValueError, struct.error):
        warnings.warn("the primaries in the file describe no colours; they are left out", stacklevel=3)
        return None


def profile_of(primaries: Primaries) -> bytes:
    """Return an ICC profile (version 4.3) of an RGB space with these primaries and sRGB's tone curve.

    Raises ValueError or LinAlgError for primaries that do not span a space.
    """
    columns = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in zip(primaries[::2], primaries[1::2], strict=True)]
    white, matrix = columns[0], np.stack(columns[1:], axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    matrix = adaptation @ matrix
    if not np.isfinite(matrix).all() or np.linalg.det(matrix) < 1e-4 or (np.linalg.solve(matrix, _D50) < 0).any():
        raise ValueError("primaries that do not span a space")
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0) + _fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    colours = [b"XYZ " + bytes(4) + _fixed(*column) for column in matrix.T]
    tags = {
        b"desc": _text("RGB of the file's primaries"), b"cprt": _text("No copyright"),
        b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50), b"chad": b"sf32" + bytes(4) + _fixed(*adaptation.ravel()),
        b"rXYZ": colours[0], b"gXYZ": colours[1], b"bXYZ": colours[2], b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, body, places = b"", b"", dict[bytes, int]()
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        if value not in places:
            places[value] = start + len(body)
            body += value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", name, places[value], len(value))
    head = bytearray(128)
    head[0:4] = struct.pack(">I", start + len(body))
    head[8:24] = bytes.fromhex("04300000") + b"mntrRGB XYZ "
    head[24:36] = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    head[36:40] = b"acsp"
    head[68:80] = _fixed(*_D50)
    return bytes(head) + struct.pack(">I", len(tags)) + table + body


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(float(value) * 65_536)) for value in values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
