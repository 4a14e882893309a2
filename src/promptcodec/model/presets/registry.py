"""Named model configurations: data, not classes."""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Callable

from promptcodec.model.config import Gain, Model
from promptcodec.model.presets.backbones import ABLATIONS, SMALL_PRESETS
from promptcodec.model.presets.nano import nano, narrow
from promptcodec.model.presets.papers import PAPER_ABLATIONS, PAPER_PRESETS
from promptcodec.model.presets.small import SMALL_VARIANTS, grown
from promptcodec.model.presets.song import song
from promptcodec.model.presets.tic import tic


def base() -> Model:
    """Return the ``tic`` transforms with a continuous variable rate: gain vectors on y and z (Cui et al. 2021).

    Scales stay raw and are, like the means, multiplied by the gain of y: at gain one it is the fixed-rate model.
    """
    return dataclasses.replace(tic(name="base"), gain=Gain(0.0018, 0.0932))


PRESETS: dict[str, Callable[[], Model]] = {
    "tic": tic,
    "base": base,
    "tic-large": lambda: tic(192, 320, "tic-large"),
    "nano": nano,
    "small": grown,
    "song": song,
    **SMALL_PRESETS,
    **PAPER_PRESETS,
}

CONFIGURATIONS = ChainMap(PRESETS, ABLATIONS, PAPER_ABLATIONS, SMALL_VARIANTS, {"narrow": narrow})
"""All names that a recipe may give: the presets, and the variants of ``recipes/grids``, experiments and ablations."""
