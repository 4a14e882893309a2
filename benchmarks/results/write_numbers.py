"""Write docs/numbers.md: every number that the documentation quotes, measured here and now.

    python -m benchmarks.results.write_numbers KODAK_FOLDER [--threads 2] [--only SECTION ...]

``--only`` measures the named sections (speed, speed-pass, coder, rate, precision, effort, package) and keeps the others
as they are. The sections speed-pass and effort show what speed_pass.py and effort.py measured last. Rate and distortion
are in docs/results.md, see write_results.py.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import promptcodec
from benchmarks.marked import replace_marked
from benchmarks.speed import effort as effort_benchmark
from benchmarks.speed import speed_pass
from promptcodec.evaluate.pages.page import table
from promptcodec.picture.read import read
from promptcodec.quality.psnr import psnr
from promptcodec.store.shipped import shipped_models

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs" / "numbers.md"
README = ROOT / "README.md"
CARDS = ROOT / "src" / "promptcodec" / "store" / "weights"


def run(*arguments: str) -> str:
    """Standard output of a Python process with these arguments; its errors are ours."""
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def speed(folder: Path, threads: int) -> str:
    parts = []
    for model in (*shipped_models(), "tic"):
        picture = str(sorted(folder.glob("*.png"))[4])
        bench = ("-m", "promptcodec", "bench", picture, "--model", model, "--threads", str(threads), "--json")
        result, quick = (json.loads(run(*bench, "--precision", precision)) for precision in ("float32", "auto"))
        rows = [
            [p["name"], f"{1000 * p['seconds']:.1f}"]
            + (["", ""] if p["gmac"] is None else [f"{p['gmac']:.2f}", f"{100 * p['share_of_peak']:.0f} %"])
            for p in result["phases"]
        ]
        weights = "shipped weights" if model in shipped_models() else "random weights"
        parts += [
            f"**{model}** ({weights}): {result['width']}x{result['height']}, {threads} threads, beside a measured "
            f"float32 convolution peak of {result['peak_gflops']:.0f} GFLOP/s. Encode {result['encode_s']:.3f} s, "
            f"decode {result['decode_s']:.3f} s, {cost(model, result['width'], result['height'])} for both, "
            f"peak memory {result['peak_memory_mib']:.0f} MiB. {_in_bfloat16(result, quick)}",
            table(["phase", "ms", "GMAC", "share of peak"], rows),
        ]
    return "\n\n".join(parts)


def cost(model: str, width: int = 768, height: int = 512) -> str:
    """What encoding and decoding a picture takes together, as ``promptcodec profile`` counts it."""
    counted = run("-m", "promptcodec", "profile", model, "--size", f"{width}x{height}", "--json").splitlines()
    whole = next(row for row in map(json.loads, counted) if row["network"] == "total")
    return f"{whole['needed']:.1f} kMAC/pixel"


def _in_bfloat16(result: dict[str, Any], quick: dict[str, Any]) -> str:
    if quick["precision"] == "float32":
        return "`--precision auto` stays with float32 here."
    phases = [{p["name"]: 1000 * p["seconds"] for p in each["phases"]} for each in (result, quick)]
    both = (f"{name} {phases[1][name]:.1f} ms instead of {phases[0][name]:.1f}" for name in ("analysis", "synthesis"))
    return (
        f"`--precision auto` takes bfloat16 here: {', '.join(both)}; encode {quick['encode_s']:.3f} s, decode "
        f"{quick['decode_s']:.3f} s."
    )


def coder() -> str:
    rows = [json.loads(line) for line in run("-m", "benchmarks.speed.coder_speed").splitlines()]
    keys = ["latents", "coder", "encode_msym_per_s", "decode_msym_per_s", "bytes", "bytes_over_tables"]
    return table([k.replace("_", " ") for k in keys], [[row[k] for k in keys] for row in rows])


def rate(folder: Path) -> str:
    rows = [json.loads(line) for line in run("-m", "benchmarks.trust.rate_accounting", str(folder)).splitlines()]
    return table([k.replace("_", " ") for k in rows[0]], [list(row.values()) for row in rows])


def precision(folder: Path) -> str:
    full, half = promptcodec.load(), promptcodec.load(precision="bfloat16")
    rows = []
    for quality in (0, 50, 100):
        means, shares, largest, losses, bits, moved = [], [], 0, [], [], []
        for path in sorted(folder.glob("*.png")):
            picture, data = read(path).rgb, full.encode(path, quality)
            first, second = full.decode_picture(data).rgb, half.decode_picture(data).rgb
            difference = np.abs(first.astype(int) - second)
            means.append(difference.mean())
            shares.append((difference > 1).mean())
            largest = max(largest, int(difference.max()))
            losses.append(psnr(picture, first) - psnr(picture, second))
            other = half.encode(path, quality)
            bits.append(100 * (len(other) / len(data) - 1))
            moved.append(psnr(picture, full.decode_picture(other).rgb) - psnr(picture, first))
        cells = [f"{np.mean(means):.3f}", f"{max(means):.3f}", f"{np.mean(shares):.1e}", largest]
        coded = [f"{np.mean(bits):+.3f} %", f"{np.mean(moved):+.4f}"]
        rows.append([quality, *cells, f"{-np.mean(losses):+.4f}", *coded])
    head = [
        "quality", "decoded: mean difference, levels", "of the worst picture", "share above 1", "largest", "PSNR, dB",
        "encoded: bytes", "PSNR, dB",
    ]  # fmt: skip
    return table(head, rows)


def effort() -> str:
    kept = sorted(effort_benchmark.RESULTS.glob("effort-*.json"))
    return "\n\n".join(effort_benchmark.described(json.loads(path.read_text())) for path in kept)


def package() -> str:
    code = "import time; t = time.perf_counter(); import promptcodec; print(time.perf_counter() - t)"
    seconds = min(float(run("-c", code)) for _ in range(5))
    with tempfile.TemporaryDirectory() as wheels:
        run("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ".")
        size = sum(p.stat().st_size for p in Path(wheels).iterdir())
    return table(["import promptcodec", "wheel"], [[f"{1000 * seconds:.0f} ms", f"{size / 2**20:.1f} MiB"]])


TITLES = {
    "speed": "Speed and memory",
    "speed-pass": "Before and after, in turns",
    "coder": "Entropy coder, one core",
    "rate": "Estimated and real bytes on Kodak",
    "precision": "Networks in bfloat16 against float32, on Kodak",
    "effort": "Effort",
    "package": "Package",
}


def write(sections: dict[str, str]) -> None:
    """All sections into the page, those not given as they were."""
    old = TARGET.read_text() if TARGET.exists() else ""
    out = ["# Numbers\n\nWritten by `python -m benchmarks.results.write_numbers`; do not edit.\n"]
    for name, title in TITLES.items():
        match = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", old, re.DOTALL)
        body = sections.get(name) or (match.group(1) if match else "not measured yet")
        out.append(f"## {title}\n\n<!-- {name} -->\n{body}\n<!-- /{name} -->\n")
    TARGET.write_text("\n".join(out))
    quote()
    if "speed" in sections:
        for name in shipped_models():
            text = f"Cost: {cost(name)} for encoding and decoding together (`promptcodec profile {name}`)."
            replace_marked(CARDS / f"{name}.md", "cost", text)


def quote() -> None:
    """Into the README: each model's speed."""
    speeds = re.findall(r"^\*\*.*$", TARGET.read_text(), re.MULTILINE)
    replace_marked(README, "speed", "\n\n".join(speeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=TITLES, default=list(TITLES))
    options = parser.parse_args()
    kept = speed_pass.RESULTS.exists()
    measure: dict[str, Callable[[], str]] = {
        "speed": lambda: speed(options.folder, options.threads),
        "speed-pass": lambda: speed_pass.table(json.loads(speed_pass.RESULTS.read_text())) if kept else "",
        "coder": coder,
        "rate": lambda: rate(options.folder),
        "precision": lambda: precision(options.folder),
        "effort": effort,
        "package": package,
    }
    for name in options.only:
        write({name: measure[name]()})
        print(f"{name}: written")


if __name__ == "__main__":
    main()
