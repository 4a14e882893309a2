"""Measure what each step of a session with one picture costs, and write it into docs/use.md.

    python -m benchmarks.speed.interactive KODAK_FOLDER

Processor seconds of one thread, so that a busy machine says the same as an idle one. Every step is done once before it
counts; of each picture the least of some repeats is kept, and the median over the pictures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import promptcodec
from benchmarks.marked import replace_marked
from promptcodec import Target
from promptcodec.codec.codec import Codec
from promptcodec.evaluate.bit_overlay import bit_overlay
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.equal_bytes import QUICK_PEERS, largest_within
from promptcodec.evaluate.pages.page import table
from promptcodec.evaluate.rate_curve import QUALITIES, rate_curve
from promptcodec.picture.read import read
from promptcodec.quality.measures import measures
from promptcodec.quality.pixels import Pixels

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "interactive.json"
TARGET = ROOT / "docs" / "use.md"
PICTURES = 3
TARGETS = (Target("size", 20_000), Target("psnr", 33.0), Target("ssimulacra2", 50.0))


def steps(codec: Codec, rgb: Pixels) -> dict[str, Callable[[], object]]:
    """What is measured, by what the table calls it."""
    picture = codec.analysed(rgb)
    data, decoded = picture.encode_and_decode(40)
    region = picture.with_maps("200,150,300,200")
    made: dict[str, Callable[[], object]] = {
        "analyse (`Codec.analysed`)": lambda: codec.analysed(rgb),
        "encode again (`encode`)": lambda: picture.encode(41),
        "a slider step (`encode_and_decode`)": lambda: picture.encode_and_decode(41),
        "the same with a look": lambda: picture.encode_and_decode(41, look=0.5),
        "the same with a region": lambda: region.encode_and_decode(41),
        "another region (`with_maps`)": lambda: picture.with_maps("200,150,300,200"),
        "decode a file (`Codec.decode`)": lambda: codec.decode(data),
        "bit allocation with its overlay": lambda: bit_overlay(codec.bit_allocation(data), *rgb.shape[:2]),
        f"a rate curve of {len(QUALITIES)} points": lambda: list(rate_curve(picture)),
        "the three measures": lambda: measures(rgb, decoded.rgb),
    }
    for target in TARGETS:
        made[f"target {target.name} {target.value:g}"] = lambda target=target: picture.encode(target=target)  # type: ignore[misc]
    for name, label in QUICK_PEERS.items():
        peer = open_codec(name)
        made[f"{label} at equal bytes (`{name}`)"] = lambda peer=peer: largest_within(peer, rgb, len(data))  # type: ignore[misc]
    return made


def least_seconds(work: Callable[[], object], repeats: int) -> float:
    """Processor time of the quickest of some calls, after one that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    """Measure, store and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec = promptcodec.load()
    seconds: dict[str, list[float]] = {}
    for path in sorted(options.folder.glob("*.png"))[: options.pictures]:
        for name, work in steps(codec, read(path).rgb).items():
            seconds.setdefault(name, []).append(least_seconds(work, options.repeats))
            print(path.stem, name, round(seconds[name][-1], 3), flush=True)
    rows = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    record = {"model": codec.name, "pictures": options.pictures, "seconds": rows}
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    replace_marked(
        TARGET, "interactive", table([f"with `{codec.name}`", "seconds"], [[n, f"{s:.3f}"] for n, s in rows.items()])
    )


if __name__ == "__main__":
    main()
