"""A region of interest by gains for every place of y: gain units (Cui et al. 2021) on a map that the file carries."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.bitstream.deflate import deflated_plane, inflated_plane
from promptcodec.errors import FormatError, UsageError
from promptcodec.model import config
from promptcodec.model.config import STRIDE
from promptcodec.model.steering import Gains
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls

PLACE = 16  # pixels along a side for which one element of y a channel stands
AN_OCTAVE = 8  # levels for a doubling of gains
LARGEST = 24  # level: three octaves finer or coarser than the picture's own rate
LEAST_WEIGHT = 2.0**-12
BACKGROUND = 0.125  # what matters least in a map still weighs so much, unless told otherwise
_LARGEST_MAP = 2**28 // PLACE**2  # places, of the largest pictures that are decoded by default
_MAP = "levels"


class RegionGains(Adapter, kind="region-gains"):
    """Finer quantisation where a map says that the picture matters, coarser elsewhere, at about the same rate.

    Where squared errors weigh w, a codec wants gains in proportion to sqrt(w); they are divided by their geometric mean
    over the picture, so that bits move from place to place. A place's level l multiplies channel c of y by
    2^(l a_c / 8), and what was decoded by 2^(-l b_c / 8): a and b are the 2 M parameters, one at the start. The map of
    levels travels in the file, a few dozen bytes. ``background``: the least weight, where the map is darker.
    """

    maps = ("roi",)
    optional = ("background",)

    def __init__(self, base: config.Model, name: str = "") -> None:
        super().__init__(base, name)
        self.y, self.y_inverse = (nn.Parameter(torch.ones(base.latent_channels)) for _ in range(2))

    def gains(self, signalled: Controls) -> Gains:
        """Return (B, M, h/16, w/16), in the precision of the levels."""
        levels = _levels(signalled)
        return Gains(*(
            torch.exp2(sign * levels * exponents.to(levels.dtype)[:, None, None] / AN_OCTAVE)
            for sign, exponents in ((1, self.y), (-1, self.y_inverse))
        ))  # fmt: skip

    def importance(self, signalled: Controls) -> Tensor:
        """Return the weights that the levels stand for: squares of gains."""
        return torch.exp2(2 * _levels(signalled) / AN_OCTAVE)

    def signal(self, controls: Controls) -> bytes:
        """Return the rows and columns of the map, then its levels, deflated.

        Raises UsageError where there is no map.
        """
        levels = levels_of(controls.padded())
        if levels.shape[0] != 1:
            raise UsageError(f"a file holds one picture's region, found {levels.shape[0]}")
        return deflated_plane((levels[0, 0] + LARGEST).to(torch.uint8).cpu().numpy())

    def read(self, data: bytes) -> Controls:
        """Return the levels in what ``signal`` wrote, as a map (1, 1, h/16, w/16), float64. Raises FormatError."""
        try:
            plane = inflated_plane(data, _LARGEST_MAP)
        except FormatError as error:
            raise FormatError(f"the region of adapter {self.name} cannot be read: {error}") from None
        if any(side % (STRIDE // PLACE) for side in plane.shape) or plane.max() > 2 * LARGEST:
            raise FormatError(
                f"the region of adapter {self.name} is damaged: {plane.shape[0]} x {plane.shape[1]} levels up to "
                f"{plane.max()}, expected multiples of {STRIDE // PLACE} and at most {2 * LARGEST}"
            )
        levels = torch.from_numpy(plane.astype(np.float64))[None, None] - LARGEST
        return Controls(maps={_MAP: levels})


def _levels(signalled: Controls) -> Tensor:
    """Return the levels of a file, or in training those of the map that is asked for."""
    return signalled.maps[_MAP] if _MAP in signalled.maps else levels_of(signalled)


def levels_of(controls: Controls) -> Tensor:
    """Return the integers (B, 1, H/16, W/16) of a padded map ``roi`` (B, 1, H, W) in [0, 1] and of the scalar
    ``background``.
    """
    least = controls.scalars.get("background", torch.tensor([BACKGROUND], dtype=torch.float32)).clamp(min=LEAST_WEIGHT)
    roi = controls.map("roi")
    weight = F.avg_pool2d(torch.maximum(roi, least.to(roi)[:, None, None, None]), PLACE)
    octaves = 0.5 * weight.log2()
    octaves = octaves - octaves.mean(dim=(1, 2, 3), keepdim=True)
    return (octaves * AN_OCTAVE).round().clamp(-LARGEST, LARGEST)
