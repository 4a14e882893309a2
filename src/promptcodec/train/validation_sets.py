"""The sets that a run is validated on: its recipe's, and a fixed sample of the pictures that it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.rd_log import TRAIN, add_rd, read_rd, set_name
from promptcodec.system.extras import import_extra
from promptcodec.train.data.crops import Store
from promptcodec.train.data.pictures import load_pictures
from promptcodec.train.run.gap import Gap, gaps, phrase
from promptcodec.train.validation import Rows

SAMPLE_SIDE = 512  # pixels of the training pictures' middle

Measure = Callable[[Sequence[NDArray[np.uint8]]], Rows]


@dataclass(frozen=True)
class Validation:
    """Rows of rate and quality by set, and how the first set and the training sample compare.

    ``gap``: None where it is not known, as always of models of one rate.
    """

    samples: int
    rows: dict[str, Rows]
    gap: Gap | None

    def line(self) -> str:
        """Return one line for people: every set at its middle rate."""
        middle = {name: rows[len(rows) // 2] for name, rows in self.rows.items()}
        figures = [f"{name} {row['bpp']:.3f} bpp {row['psnr']:.2f} dB" for name, row in middle.items()]
        if self.gap is not None:
            figures.append(phrase(self.gap, next(iter(self.rows))))
        return f"{self.samples:>11,} samples  {' · '.join(figures)}"


class ValidationSets:
    """Pictures by set, uint8 (H, W, 3) each: those of ``sources``, and ``sample`` ones of ``store`` as TRAIN.

    Without sources there is no set. Raises UsageError for sets of one name.
    """

    def __init__(self, sources: Sequence[str], store: Store, sample: int, say: Callable[[str], None]) -> None:
        self.pictures: dict[str, list[NDArray[np.uint8]]] = {}
        for source in sources:
            if set_name(source) in (*self.pictures, TRAIN):
                raise UsageError(f"validation {source}: another set is called {set_name(source)}, give it another name")
            self.pictures[set_name(source)] = load_pictures([source])
        self._compares = bool(sources and sample)
        if not self._compares:
            return
        self.pictures[TRAIN] = [_middle(picture) for picture in store.sample(sample)]
        try:
            import_extra("scipy.interpolate", "scipy")
        except UsageError as error:
            self._compares = False
            say(f"validation and training pictures are measured, but not compared: {error}")

    def measure(self, measure: Measure, folder: Path, samples: int) -> Validation:
        """Return the rate and quality on every set, added to the log in ``folder``."""
        rows = {name: measure(pictures) for name, pictures in self.pictures.items()}
        for name, rows_of_set in rows.items():
            add_rd(folder, samples, name, rows_of_set)
        known = gaps(read_rd(folder), next(iter(rows))) if self._compares else []
        return Validation(samples, rows, known[-1] if known and known[-1].points is not None else None)


def _middle(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, (side - SAMPLE_SIDE) // 2) for side in picture.shape[:2])
    return picture[top : top + SAMPLE_SIDE, left : left + SAMPLE_SIDE]
