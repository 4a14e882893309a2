"""The prior's integer tables."""

import numpy as np
import torch

from promptcodec.bitstream.tables import PRECISION
from promptcodec.model.entropy.prior import FactorizedPrior
from promptcodec.store.prior_tables import prior_tables


def test_prior_tables_follow_the_density():
    torch.manual_seed(1)
    prior = FactorizedPrior(6)
    tables = prior_tables(prior)
    assert len(tables) == 6
    for channel, (table, offset) in enumerate(zip(tables.frequencies, tables.offsets, strict=True)):
        symbols = torch.arange(len(table) - 1) + int(offset)
        z = (symbols + prior.medians[0, channel, 0, 0]).float()
        likelihood = prior.likelihood(z.reshape(1, 1, 1, -1).expand(1, 6, 1, -1))[0, channel, 0].detach().numpy()
        assert np.abs(table[:-1] / 2**PRECISION - likelihood).max() < 1e-5
        assert table[-1] / 2**PRECISION < 1e-3
