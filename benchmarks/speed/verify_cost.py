"""Measure what a verified encode costs, and write it into docs/trust.md.

    python -m benchmarks.speed.verify_cost KODAK_FOLDER

Processor seconds of one thread, so that a busy machine says the same as an idle one. Each picture is encoded plain and
verified in turns, after one encode that does not count; the median of the ratios is kept for each model.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import promptcodec
from benchmarks.marked import replace_marked
from promptcodec.codec.codec import Codec
from promptcodec.evaluate.cost.bench import untrained
from promptcodec.evaluate.pages.page import table
from promptcodec.picture.read import read

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "verify_cost.json"
TARGET = ROOT / "docs" / "trust.md"
UNTRAINED = ("small", "tic")  # of which the cost is known without their weights
PICTURES = 4


def seconds(codec: Codec, picture: object, verify: bool) -> float:
    """Processor time of an encode."""
    start = time.process_time()
    codec.encode(picture, verify=verify)  # type: ignore[arg-type]
    return time.process_time() - start


def measured(codec: Codec, folder: Path, repeats: int) -> dict[str, object]:
    """A row: median seconds of a plain encode, and the median ratio of the two of a pair."""
    plain, ratios = [], []
    for path in sorted(folder.glob("*.png"))[:PICTURES]:
        picture = read(path).rgb
        seconds(codec, picture, True)
        for _ in range(repeats):
            plain.append(seconds(codec, picture, False))
            ratios.append(seconds(codec, picture, True) / plain[-1])
    return {"model": codec.name, "plain_s": round(statistics.median(plain), 3),
            "ratio": round(statistics.median(ratios), 3)}  # fmt: skip


def main() -> None:
    """Measure, store and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for codec in (promptcodec.load(), *(untrained(name) for name in UNTRAINED)):
        rows.append(measured(codec, options.folder, options.repeats))
        print(json.dumps(rows[-1]))
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    head = ["model", "plain encode, processor seconds", "verified", "more"]
    body = [
        [r["model"], f"{r['plain_s']:.3f}", f"{r['plain_s'] * r['ratio']:.3f}", f"{100 * (r['ratio'] - 1):+.0f} %"]  # type: ignore[operator,str-format]
        for r in rows
    ]
    replace_marked(TARGET, "verified", table(head, body))


if __name__ == "__main__":
    main()
