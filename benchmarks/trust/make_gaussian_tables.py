"""Make the Gaussian frequency tables that ship with the package: run once, the file is data from then on.

python -m benchmarks.trust.make_gaussian_tables src/promptcodec/bitstream/gaussian_tables.npz
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN, FrequencyTables, tables_from_pmfs

REACH = 6.0  # standard deviations on either side, and
EXTRA = 32  # more symbols: real latents have heavier tails than Gaussians, and an entry costs 2^-24


def make_tables() -> FrequencyTables:
    """Tables over -n … n with n = ceil(6 sigma) + 32, for standard deviations log-spaced in 0.11 … 256."""
    pmfs, offsets = [], []
    for sigma in np.geomspace(SIGMA_MIN, SIGMA_MAX, BINS):
        half = math.ceil(REACH * sigma) + EXTRA
        scale = math.sqrt(0.5) / sigma
        upper = [0.5 * (math.erfc((k - 0.5) * scale) - math.erfc((k + 0.5) * scale)) for k in range(half + 1)]
        pmfs.append(np.array(upper[:0:-1] + upper))
        offsets.append(-half)
    return tables_from_pmfs(pmfs, offsets)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tables = make_tables()
    frequencies, lengths, offsets = tables.to_arrays()
    np.savez_compressed(sys.argv[1], frequencies=frequencies, lengths=lengths, offsets=offsets)
    print(
        f"{len(tables)} tables, {len(frequencies)} entries, {Path(sys.argv[1]).stat().st_size} bytes, {tables.sha256}"
    )
