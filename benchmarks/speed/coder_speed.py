"""Speed and cost of the entropy coder on one core, on latents like a photo's and on wide ones.

python -m benchmarks.speed.coder_speed
"""

from __future__ import annotations

import json
import time

import numpy as np

from promptcodec.bitstream.rans import BACKENDS, Decoder, encode
from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN, gaussian_tables


def workload(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and bins of 320 x 32 x 48 latents: ``photo`` has falling channel energies, ``wide`` all bins alike."""
    rng = np.random.default_rng(0)
    centres = np.geomspace(SIGMA_MIN, SIGMA_MAX, BINS)
    if name == "wide":
        bins = rng.integers(0, BINS, 320 * 32 * 48)
    else:
        log_sigma = np.linspace(1.5, -3.5, 320)[:, None] + rng.normal(0, 0.7, (320, 32 * 48))
        bins = np.abs(log_sigma.reshape(-1, 1) - np.log(centres)).argmin(1)
    return np.rint(rng.normal(0, centres[bins])).astype(np.int32), bins.astype(np.uint8)


def best(call, repeats: int) -> float:  # type: ignore[no-untyped-def]
    """Least seconds of a call."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    tables = gaussian_tables()
    for name in ("photo", "wide"):
        symbols, bins = workload(name)
        for backend in BACKENDS:
            repeats = 20 if backend == "constriction" else 2
            stream = encode([(symbols, bins, tables)], backend)
            enc = best(lambda: encode([(symbols, bins, tables)], backend), repeats)  # noqa: B023
            dec = best(lambda: Decoder(stream, backend).pull(bins, tables), repeats)  # noqa: B023
            ideal = tables.cost_bits(symbols, bins) / 8
            print(json.dumps({
                "latents": name, "coder": backend, "symbols": len(symbols), "bytes": len(stream),
                "bytes_over_tables": round(len(stream) - ideal, 1),
                "encode_msym_per_s": round(len(symbols) / enc / 1e6, 1),
                "decode_msym_per_s": round(len(symbols) / dec / 1e6, 1),
            }))  # fmt: skip


if __name__ == "__main__":
    main()
