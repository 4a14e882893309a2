"""Numbers drawn from a seed, the same on every machine: Mersenne Twister and Box-Muller, as torch draws on the CPU.

What torch computes in float32 is computed here in float64 from the same random words, so results agree to a few
units in the last place of float32. Only NumPy's frozen ``RandomState`` and elementary functions are used: no release
of torch or NumPy changes what comes out.
"""

from __future__ import annotations

import numpy as np

BLOCK = 16  # torch draws normal numbers in blocks: eight radii, eight angles
WAVES = 6  # in each colour plane of a picture, four uniform numbers each


class Stream:
    """The first ``count`` uniform numbers of ``seed`` in [0, 1), and the normal numbers made of them."""

    def __init__(self, seed: int, count: int) -> None:
        words = np.random.RandomState(seed).randint(0, 1 << 32, count + BLOCK, dtype=np.uint32)
        self.uniform = (words & 0xFFFFFF) / float(1 << 24)
        radius, angle = np.sqrt(-2 * np.log1p(-self.uniform)), 2 * np.pi * self.uniform
        half = BLOCK // 2
        self.cosines, self.sines = radius[:-half] * np.cos(angle[half:]), radius[:-half] * np.sin(angle[half:])

    def blocks(self, offsets: np.ndarray) -> np.ndarray:
        """The sixteen normal numbers that begin at each offset, (..., 16)."""
        index = np.asarray(offsets)[..., None] + np.arange(BLOCK // 2)
        return np.concatenate([self.cosines[index], self.sines[index]], axis=-1)

    def normal(self, offset: int, count: int) -> np.ndarray:
        """``count`` (16 or more) normal numbers; where no whole block is left, the last sixteen are drawn anew."""
        whole = count // BLOCK * BLOCK
        values = np.zeros(count)
        values[:whole] = self.blocks(offset + np.arange(0, whole, BLOCK)).ravel()
        if count > whole:
            values[count - BLOCK :] = self.blocks(np.array(offset + count))
        return values


def picture(seed: int, height: int, width: int, rectangles: list[list[float]]) -> np.ndarray:
    """The test picture of a seed, (3, height, width) uint8: waves, noise, and translucent rectangles.

    ``rectangles``: top, left, red, green, blue, later ones on top; each a sixth of the height and a seventh of the
    width. A value of 256 stands for 1.
    """
    planes = background(seed, height, width)
    for top, left, *colour in rectangles:
        part = planes[:, int(top) : int(top) + height // 6, int(left) : int(left) + width // 7]
        part[:] = 0.4 * part + 0.6 * np.array(colour)[:, None, None]
    return np.clip(np.round(planes * 256), 0, 255).astype(np.uint8)


def background(seed: int, height: int, width: int) -> np.ndarray:
    """The waves and the noise of a test picture, (3, height, width) float64, about 0.5."""
    uniforms = 3 * WAVES * 4
    size = 3 * height * width
    stream = Stream(seed, uniforms + size + BLOCK)
    y, x = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)
    planes = np.full((3, height, width), 0.5)
    for plane, waves in zip(planes, stream.uniform[:uniforms].reshape(3, WAVES, 4), strict=True):
        for down, right, phase, amplitude in waves:
            plane += 0.11 * amplitude * np.cos(2 * np.pi * 9 * (down * y + right * x) + 6.28 * phase)
    planes += 0.04 * stream.normal(uniforms, size).reshape(planes.shape)
    return planes


def rounded(values: np.ndarray, dtype: str, steps: np.ndarray) -> np.ndarray:
    """``values`` in ``dtype`` (float16 or float32), moved by so many representable numbers each."""
    integers = {"float16": np.int16, "float32": np.int32}[dtype]
    near = np.ascontiguousarray(values.astype(dtype)).view(integers)
    return (near + steps.astype(integers)).view(dtype)


def steps_between(values: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """How many representable numbers ``exact`` lies from ``values`` rounded to its type, int64."""
    integers = {"float16": np.int16, "float32": np.int32}[str(exact.dtype)]
    near = np.ascontiguousarray(values.astype(exact.dtype)).view(integers).astype(np.int64)
    return np.ascontiguousarray(exact).view(integers).astype(np.int64) - near
