"""What passes between a codec and the networks of a model: NumPy arrays. Needs no torch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]
Where = tuple[Any, ...]  # of y (1, M, h, w): slices, or arrays of positions for rows and columns
EVERYWHERE: Where = (slice(None),) * 4


@dataclass(frozen=True)
class Analysis:
    """Latents of one picture or tile, before gains: y (1, M, h/16, w/16) and z (1, N, h/64, w/64), float32.

    ``keep_y`` and ``keep_z``: where symbols may differ from their likeliest value, booleans of those shapes (1 where
    all of an axis is alike), None for everywhere.
    """

    y: Floats
    z: Floats
    keep_y: NDArray[np.bool_] | None = None
    keep_z: NDArray[np.bool_] | None = None

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(array.nbytes for array in (self.y, self.z, self.keep_y, self.keep_z) if array is not None)


@dataclass(frozen=True)
class Gains:
    """Factors of y and z before quantisation, and those that undo them, float64: (1, C, 1, 1), one for every place, or
    1."""

    y: Float64s | float = 1.0
    y_inverse: Float64s | float = 1.0
    z: Float64s | float = 1.0
    z_inverse: Float64s | float = 1.0


@dataclass(frozen=True)
class Step:
    """Elements ``where`` of y that are coded together, with log σ and means of the gained latent, float64.

    Where rows and columns are arrays of n positions, the parts are (1, channels, n).
    """

    where: Where
    log_sigma: Float64s
    mean: Float64s


@dataclass(frozen=True)
class MeanStep:
    """Elements ``where`` of y whose means, float32, are made together; their scales were settled before, from z.

    It has no scale on purpose: what sees decoded latents of this picture cannot choose a table.
    """

    where: Where
    mean: Floats


Steps = Generator[Step, Floats, None]
MeanSteps = Generator[MeanStep, Floats, None]
