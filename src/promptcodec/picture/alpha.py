"""Lossless coding of alpha planes: a predictor, then deflate. Most planes are flat; those cost a few bytes."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from promptcodec.bitstream.deflate import BEST_LEVEL, deflated_from, level_for, quickly_deflated
from promptcodec.errors import FormatError

_CONSTANT, _PLAIN, _LEFT, _ABOVE = range(4)


def encode_alpha(plane: NDArray[np.uint8]) -> bytes:
    """Return a plane (H, W): one byte for the method, then one value, or the plane or its differences, deflated.

    Methods whose cost is small are all tried, else the one that a quick deflate does best with: time per pixel is
    bounded whatever the plane.
    """
    if (plane == plane[0, 0]).all():
        return bytes([_CONSTANT, plane[0, 0]])
    left, above = plane.copy(), plane.copy()
    left[:, 1:] -= plane[:, :-1]  # modulo 256
    above[1:] -= plane[:-1]
    candidates = {method: values.tobytes() for method, values in ((_PLAIN, plane), (_LEFT, left), (_ABOVE, above))}
    quick = {method: quickly_deflated(values) for method, values in candidates.items()}
    best = min(quick, key=lambda method: len(quick[method]))
    tried = (i for i, values in candidates.items() if i == best or level_for(values, len(quick[i])) == BEST_LEVEL)
    return min((bytes([i]) + deflated_from(candidates[i], quick[i]) for i in tried), key=len)


def decode_alpha(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Return the plane again, uint8 (height, width). Raises FormatError for data that does not give exactly that."""
    method = data[0] if data else None
    if method == _CONSTANT and len(data) == 2:
        return np.full((height, width), data[1], dtype=np.uint8)
    if method not in (_PLAIN, _LEFT, _ABOVE):
        raise FormatError(f"the alpha plane has method {method}, expected 0 to 3")
    stream = zlib.decompressobj()
    try:
        values = stream.decompress(data[1:], height * width)
        # Right after the last value, zlib may not have looked at the end of its data yet.
        more = stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error as error:
        raise FormatError(f"the alpha plane does not inflate: {error}") from None
    if len(values) != height * width or more or not stream.eof:
        raise FormatError(f"the alpha plane does not hold {height} x {width} values")
    plane = np.frombuffer(values, dtype=np.uint8).reshape(height, width)
    if method == _LEFT:
        return np.cumsum(plane, axis=1, dtype=np.uint8)
    return np.cumsum(plane, axis=0, dtype=np.uint8) if method == _ABOVE else plane.copy()
