"""Measure what an effort saves and takes: BD-rate against effort 0, and seconds, with real files.

    python -m benchmarks.speed.effort KODAK [--model nano] [--every 6] [--efforts 0 1 2 ...] [--qualities 10 30 ...]

Takes every sixth picture, or with ``--every 1`` all. Results go to benchmarks/results/effort-MODEL.json file by file:
a run that is cut off goes on where it was, and others add efforts, pictures and qualities. ``--anew`` begins again.
``write_numbers.py --only effort`` writes them to docs/numbers.md. Seconds are processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import promptcodec
from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.evaluate.pages import page
from promptcodec.picture.read import read
from promptcodec.quality.psnr import psnr

RESULTS = Path(__file__).resolve().parents[1] / "results"
QUALITIES = (10, 30, 50, 70, 90)


def results_of(model: str) -> Path:
    """The file that holds what was measured with a model."""
    return RESULTS / f"effort-{model}.json"


def measured(path: Path, quality: float, effort: int, model: str) -> dict[str, Any]:
    """One file: its size, the PSNR of what it decodes to, and the seconds that it took to make."""
    rgb = read(path).rgb
    began = time.process_time()
    data = promptcodec.encode(rgb, quality, effort=effort, model=model)
    seconds = time.process_time() - began
    decoded = np.asarray(promptcodec.decode(data))
    pixels = rgb.shape[0] * rgb.shape[1]
    return {
        "picture": path.stem, "quality": quality, "effort": effort, "bpp": round(8 * len(data) / pixels, 5),
        "psnr": round(float(psnr(rgb, decoded)), 4), "seconds_a_megapixel": round(1e6 * seconds / pixels, 2),
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """BD-rate and seconds of every effort, in Markdown."""
    usual = float(np.mean([row["seconds_a_megapixel"] for row in rows if row["effort"] == 0]))
    lines = []
    for effort in _all(rows, "effort"):
        mine = [row for row in rows if row["effort"] == effort]
        pictures = _all(mine, "picture")
        saved = [_saved(rows, name, effort) for name in pictures]
        known = [each for each in saved if each is not None]
        seconds = float(np.mean([row["seconds_a_megapixel"] for row in mine]))
        spread = f"{min(known):+.2f} to {max(known):+.2f}" if effort and known else ""
        shown = f"{np.mean(known):+.2f} %" if effort and known else "0"
        qualities = ", ".join(f"{quality:g}" for quality in _all(mine, "quality"))
        lines.append([effort, shown, spread, f"{seconds:.1f}", f"{seconds / usual:.0f}", len(pictures), qualities])
    head = ["effort", "BD-rate", "of single pictures", "s/Mpixel", "times effort 0", "pictures", "qualities"]
    return page.table(head, lines)


def described(results: dict[str, Any]) -> str:
    """The table with what it was measured on."""
    names = ", ".join(_all(results["rows"], "picture"))
    return (
        f"Model {results['model']} ({results['fingerprint']}): BD-rate (PSNR) of real files against effort 0, and "
        "seconds of processor time to encode with one thread, by `benchmarks/speed/effort.py`. Pictures, of which the "
        f"table says how many of the first: {names}.\n\n{table(results['rows'])}"
    )


def _saved(rows: list[dict[str, Any]], picture: str, effort: int) -> float | None:
    """BD-rate of one picture, by the same qualities on both sides."""
    both = [{r["quality"]: r for r in rows if (r["picture"], r["effort"]) == (picture, e)} for e in (effort, 0)]
    shared = sorted(both[0].keys() & both[1].keys())
    codec, anchor = ([(points[quality]["bpp"], points[quality]["psnr"]) for quality in shared] for points in both)
    return bd_rate(codec, anchor).percent if len(shared) > 1 else None


def _all(rows: Iterable[dict[str, Any]], key: str) -> list[Any]:
    return sorted({row[key] for row in rows})


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--efforts", type=int, nargs="+", default=list(range(11)))
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--anew", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    codec, path = promptcodec.load(options.model), results_of(options.model)
    results: dict[str, Any] = {"model": options.model, "fingerprint": codec.fingerprint, "rows": []}
    if path.exists() and not options.anew:
        kept = json.loads(path.read_text())
        results = kept if kept["fingerprint"] == codec.fingerprint else results
    done = {(row["picture"], row["quality"], row["effort"]) for row in results["rows"]}
    promptcodec.encode(np.zeros((64, 64, 3), np.uint8), model=options.model)  # what is loaded at first use
    for effort in options.efforts:
        for picture in sorted(options.folder.glob("*.png"))[:: options.every]:
            for quality in options.qualities:
                if (picture.stem, quality, effort) not in done:
                    results["rows"].append(measured(picture, quality, effort, options.model))
                    path.write_text(json.dumps(results, indent=0) + "\n")
    print(table(results["rows"]))


if __name__ == "__main__":
    main()
