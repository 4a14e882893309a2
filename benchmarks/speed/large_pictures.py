"""Memory and seconds against the size of a picture, 0.1 to 100 megapixels, each size in a process of its own.

    python -m benchmarks.speed.large_pictures [--model nano] [--sizes 0.1 1 100] [--threads 2] [--memory 1073741824]
    python -m benchmarks.speed.large_pictures --plot     # docs/large.png, and the table in docs/large.md

Writes ``benchmarks/results/large.json``. Memory is the peak above the process with its model loaded; it includes
reading the picture, and the decoded picture.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from benchmarks.marked import replace_marked

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "large.json"
SIZES = (0.1, 0.4, 1.0, 4.0, 12.0, 36.0, 100.0)


def source(megapixels: float, path: Path) -> None:
    """The example photo, mirrored side by side until it is as large as that (4:3), as PPM."""
    width = round(math.sqrt(megapixels * 1e6 * 4 / 3))
    height = round(megapixels * 1e6 / width)
    photo = Image.open(ROOT / "examples" / "photo.jpg").convert("RGB")
    if photo.width >= width and photo.height >= height:
        photo.crop((0, 0, width, height)).save(path)
        return
    whole, mirrored = Image.new("RGB", (width, height)), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for row in range(-(-height // photo.height)):
        for column in range(-(-width // photo.width)):
            part = mirrored if column % 2 else photo
            part = part.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if row % 2 else part
            whole.paste(part, (column * photo.width, row * photo.height))
    whole.save(path)


def measure(path: Path, model: str, threads: int, memory: int) -> dict[str, object]:
    """One picture, there and back, in this process."""
    import torch

    import promptcodec
    from promptcodec.bitstream.container import unpack
    from promptcodec.evaluate.cost.bench import untrained
    from promptcodec.evaluate.cost.memory import begin_peak, peak_mib
    from promptcodec.model.presets.registry import PRESETS
    from promptcodec.store.shipped import shipped_models
    from promptcodec.system.allocator import keep_large_blocks

    keep_large_blocks()
    torch.set_num_threads(threads)
    Image.MAX_IMAGE_PIXELS = None
    codec = untrained(model) if model in PRESETS and model not in shipped_models() else promptcodec.load(model)
    codec.decode(codec.encode(Image.new("RGB", (64, 64))))
    begin_peak()
    base = peak_mib() or 0.0
    start = time.perf_counter()
    data = codec.encode(path, memory=memory)
    encoded, encode_peak = time.perf_counter() - start, peak_mib() or 0.0
    begin_peak()
    start = time.perf_counter()
    picture = codec.decode(data)
    decoded, decode_peak = time.perf_counter() - start, peak_mib() or 0.0
    grid = unpack(data).header.grid
    return {
        "model": codec.name, "fingerprint": codec.fingerprint, "threads": threads, "memory_budget": memory,
        "width": picture.width, "height": picture.height, "tiles": grid.count,
        "tile": f"{grid.tile_width}x{grid.tile_height}", "bytes": len(data),
        "encode_s": round(encoded, 2), "decode_s": round(decoded, 2), "model_mib": base,
        "encode_mib": round(encode_peak - base), "decode_mib": round(decode_peak - base),
    }  # fmt: skip


def plot() -> None:
    """Both against the size, for every model stored."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = sorted(json.loads(RESULTS.read_text()), key=lambda row: row["width"] * row["height"])
    figure, (memory, seconds) = pyplot.subplots(1, 2, figsize=(10, 3.8))
    for model in dict.fromkeys(row["model"] for row in rows):
        measured = [row for row in rows if row["model"] == model]
        size = [row["width"] * row["height"] / 1e6 for row in measured]
        for side, style in (("encode", "o-"), ("decode", "s--")):
            memory.plot(size, [row[f"{side}_mib"] for row in measured], style, label=f"{model}, {side}")
            seconds.plot(size, [row[f"{side}_s"] for row in measured], style, label=f"{model}, {side}")
    memory.axhline(2048, color="grey", linewidth=0.8)
    memory.text(0.1, 2070, "2 GiB", color="grey", va="bottom")
    memory.set_ylabel("peak memory above the model (MiB)")
    memory.set_ylim(0, 2300)
    seconds.set_ylabel("seconds")
    seconds.set_yscale("log")
    for axes in (memory, seconds):
        axes.set_xscale("log")
        axes.set_xlabel("megapixels")
        axes.grid(alpha=0.3)
    seconds.legend()
    figure.tight_layout()
    figure.savefig(ROOT / "docs" / "large.png", dpi=90)


def write_table() -> None:
    """Into docs/large.md, between its markers."""
    from promptcodec.evaluate.pages.page import table

    rows = [
        [
            row["model"], f"{row['width'] * row['height'] / 1e6:.1f}", str(row["tiles"]), f"{row['encode_s']:.2f}",
            f"{row['decode_s']:.2f}", str(row["encode_mib"]), str(row["decode_mib"]),
        ]
        for row in json.loads(RESULTS.read_text())
    ]  # fmt: skip
    titles = ["model", "megapixels", "tiles", "encode s", "decode s", "encode MiB", "decode MiB"]
    replace_marked(ROOT / "docs" / "large.md", "large", table(titles, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, default=2**30)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--plot", action="store_true")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.model, options.threads, options.memory)))
        return
    if options.plot:
        plot()
        write_table()
        return
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture.ppm"
            source(size, path)
            command = [
                sys.executable,
                "-m",
                "benchmarks.speed.large_pictures",
                "--one",
                str(path),
                "--model",
                options.model,
            ]
            command += ["--threads", str(options.threads), "--memory", str(options.memory)]
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            sys.exit(finished.stderr)
        row = json.loads(finished.stdout)
        print(row, flush=True)
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
        key = ("model", "width", "height")
        kept = [other for other in known if any(other[k] != row[k] for k in key)]
        rows = sorted([*kept, row], key=lambda r: (r["model"], r["width"] * r["height"]))
        RESULTS.write_text("[\n" + ",\n".join(f" {json.dumps(r)}" for r in rows) + "\n]\n")


if __name__ == "__main__":
    main()
