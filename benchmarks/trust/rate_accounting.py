"""Where the bits go: real stream bytes, the integer tables' own cost, and the model before binning.

python -m benchmarks.trust.rate_accounting FOLDER [QUALITY ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import promptcodec
from benchmarks.base_network import network_of
from promptcodec.bitstream.rans import encode
from promptcodec.evaluate.data.datasets import find_pictures
from promptcodec.picture.read import read

TINY = 2.0**-40  # a probability that the likelihood's own arithmetic cannot tell from zero


def account(codec: promptcodec.Codec, picture: Path, quality: float) -> dict[str, float]:
    """Bytes of one picture: stream, tables, model without bins and grids of probabilities, file overhead."""
    q = round(quality / 100 * 65_535) / 65_535
    rgb = read(picture).rgb
    analysed = codec.analyse(rgb)
    latents = codec.coder.quantise(analysed, q)
    (z_symbols, _, _), (y_symbols, _, _) = latents.steps
    table_bits = sum(tables.cost_bits(symbols, bins) for symbols, bins, tables in latents.steps)
    symbols = z_symbols.reshape(analysed.z.shape)
    step = next(codec.backend.hyper.schedule(symbols, q))
    integers, log_sigma = torch.from_numpy(symbols), torch.from_numpy(step.log_sigma)
    scale = 0.5**0.5 / log_sigma.exp().clamp_min(0.11).flatten()
    distance = torch.from_numpy(y_symbols).double().abs()
    likelihood = 0.5 * (torch.erfc((distance - 0.5) * scale) - torch.erfc((distance + 0.5) * scale))
    with torch.inference_mode():
        prior = network_of(codec).prior.likelihood((integers + network_of(codec).prior.medians).float())
    model_bits = -float(likelihood.clamp_min(TINY).log2().sum()) - float(prior.double().log2().sum())
    stream = len(encode(latents.steps))
    file = len(codec.encode(rgb, quality))
    return {"stream": stream, "tables": table_bits / 8, "model": model_bits / 8, "overhead": file - stream}


def main(folder: str, *qualities: str) -> None:
    codec = promptcodec.load()
    for quality in map(float, qualities or ("10", "50", "90")):
        rows = [account(codec, picture, quality) for picture in find_pictures([Path(folder)])]
        total = {key: sum(row[key] for row in rows) for key in rows[0]}
        print(json.dumps({
            "quality": quality, "pictures": len(rows),
            "stream_over_tables_percent": round(100 * (total["stream"] / total["tables"] - 1), 4),
            "most_bytes_over_tables": round(max(row["stream"] - row["tables"] for row in rows), 1),
            "within_0.1_percent_and_16_bytes": all(r["stream"] <= 1.001 * r["tables"] + 16 for r in rows),
            "tables_over_model_percent": round(100 * (total["tables"] / total["model"] - 1), 3),
            "most_file_overhead_bytes": max(row["overhead"] for row in rows),
        }))  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
