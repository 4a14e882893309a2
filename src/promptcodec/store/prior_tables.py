"""Integer frequency tables of a factorised prior, made once and stored with the weights."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from promptcodec.bitstream.tables import FrequencyTables, tables_from_pmfs
from promptcodec.model.entropy.prior import FactorizedPrior

TAIL_MASS = 2.0**-20  # what lies beyond a table on either side is escaped
LARGEST = 512  # symbols on either side of the median, at most


@torch.no_grad()
def prior_tables(prior: FactorizedPrior) -> FrequencyTables:
    """Return one table a channel over symbols round(z - median), wide enough to leave 2^-20 outside on either side."""
    density = copy.deepcopy(prior).double()
    symbols = torch.arange(-LARGEST, LARGEST + 1, dtype=torch.float64)
    centres = density.medians.reshape(-1, 1, 1) + symbols
    lower, upper = density.logits(centres - 0.5), density.logits(centres + 0.5)
    left, right = torch.sigmoid(lower[:, 0]).numpy(), torch.sigmoid(-upper[:, 0]).numpy()
    mass = _interval(lower, upper)[:, 0].numpy()
    pmfs, offsets = [], []
    for channel in range(len(mass)):
        inside = np.flatnonzero((left[channel] > TAIL_MASS) & (symbols.numpy() < 0))
        first = min(inside[0] if inside.size else LARGEST, LARGEST)
        inside = np.flatnonzero((right[channel] > TAIL_MASS) & (symbols.numpy() > 0))
        last = max(inside[-1] if inside.size else LARGEST, LARGEST)
        pmfs.append(mass[channel, first : last + 1])
        offsets.append(int(first) - LARGEST)
    return tables_from_pmfs(pmfs, offsets)


def _interval(lower: Tensor, upper: Tensor) -> Tensor:
    """Return sigmoid(upper) - sigmoid(lower), taken on the side where neither is close to one."""
    sign = torch.where(lower + upper > 0, -torch.ones_like(lower), torch.ones_like(lower))
    return (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
