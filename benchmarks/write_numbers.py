"""Write docs/numbers.md: every number that the documentation quotes, measured here and now.

    python benchmarks/write_numbers.py KODAK_FOLDER --results results.jsonl [--threads 2] [--only SECTION ...]

``results.jsonl`` is what ``promptcodec eval`` wrote (it is continued with what is missing). ``--only`` measures the
named sections (kodak, speed, coder, rate, package) and keeps the others as they are.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.summary import Summary, summarise

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "numbers.md"
README = ROOT / "README.md"
CARD = ROOT / "src" / "promptcodec" / "zoo" / "weights" / "nano.md"
PEERS = ["jpeg", "webp", "jpeg2000", "jpegxl", "avif", "avif-psnr"]
RATES = (0.2, 0.3, 0.5, 0.75, 1.0)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def run(*arguments: str) -> str:
    """Standard output of a Python process with these arguments; its errors are ours."""
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def kodak(folder: Path, results: Path, threads: int) -> str:
    codecs = ",".join(["promptcodec", *PEERS])
    command = ["-m", "promptcodec", "eval", str(folder), "--out", str(results), "--codecs", codecs, "--json"]
    run(*command, "--threads", str(threads))
    summary = summarise(_current(ResultsFile(results)))
    (ours,) = (label for label in summary.curves if label.startswith("promptcodec"))
    points = [[f"{p.setting:g}", f"{p.bpp:.4f}", f"{p.psnr:.2f}", f"{p.ms_ssim:.4f}"] for p in summary.curves[ours]]
    return "\n\n".join([
        f"Means over {summary.pictures} pictures of real files, header included, {ours} ({_fingerprint(results)}).",
        table(["quality", "bpp", "PSNR (dB)", "MS-SSIM"], points),
        "BD-rate (negative: fewer bits than the peer at equal quality):",
        table(["against", "PSNR", "MS-SSIM"], [_bd_row(summary, ours, peer) for peer in PEERS]),
        "Mean difference of PSNR at equal rate, and on how many of the pictures that reach the rate it is positive:",
        table(["against", *(f"{r:g} bpp" for r in RATES)], [_rate_row(summary, ours, peer) for peer in PEERS]),
        "JPEG is 4:2:0, optimised and progressive; WebP method 6; JPEG 2000 irreversible; JPEG XL effort 7; "
        "AVIF speed 6, 4:2:0, and `avif-psnr` speed 6, 4:4:4, tuned for PSNR; all but JPEG XL through Pillow.",
    ])  # fmt: skip


def _current(results: ResultsFile) -> list:  # type: ignore[type-arg]
    """Rows of the peers and of the shipped model; those of earlier models stay in the file."""
    import promptcodec

    return [r for r in results if r.options.get("fingerprint", "") in ("", promptcodec.load().fingerprint)]


def _fingerprint(results: Path) -> str:
    (found,) = {r.options["fingerprint"] for r in _current(ResultsFile(results)) if "fingerprint" in r.options}
    return f"model {found}"


def _bd_row(summary: Summary, ours: str, peer: str) -> list[str]:
    rates = {b.metric: b.result.percent for b in summary.bd_rates if (b.codec, b.anchor) == (ours, peer)}
    return [peer, *(f"{rates[m]:+.1f} %" for m in ("psnr", "ms_ssim"))]


def _rate_row(summary: Summary, ours: str, peer: str) -> list[str]:
    entries = {e.bpp: e for e in summary.equal_rates if (e.codec, e.anchor) == (ours, peer)}
    return [peer, *(f"{e.psnr_difference:+.2f} dB, {e.better} of {e.comparable}" for e in map(entries.get, RATES) if e)]


def speed(folder: Path, threads: int) -> str:
    parts = []
    for model in ("nano", "tic"):
        picture = str(sorted(folder.glob("*.png"))[4])
        result = json.loads(
            run("-m", "promptcodec", "bench", picture, "--model", model, "--threads", str(threads), "--json")
        )
        rows = [
            [p["name"], f"{1000 * p['seconds']:.1f}"]
            + (["", ""] if p["gmac"] is None else [f"{p['gmac']:.2f}", f"{100 * p['share_of_peak']:.0f} %"])
            for p in result["phases"]
        ]
        pixels = result["width"] * result["height"]
        kmac = sum(p["gmac"] or 0 for p in result["phases"]) * 1e6 / pixels
        weights = "shipped weights" if model == "nano" else "random weights"
        parts += [
            f"**{model}** ({weights}): {result['width']}x{result['height']}, {threads} threads, beside a measured "
            f"float32 convolution peak of {result['peak_gflops']:.0f} GFLOP/s. Encode {result['encode_s']:.3f} s, "
            f"decode {result['decode_s']:.3f} s, {kmac:.1f} kMAC/pixel for both, "
            f"peak memory {result['peak_memory_mib']:.0f} MiB.",
            table(["phase", "ms", "GMAC", "share of peak"], rows),
        ]
    return "\n\n".join(parts)


def coder() -> str:
    rows = [json.loads(line) for line in run("benchmarks/coder_speed.py").splitlines()]
    keys = ["latents", "coder", "encode_msym_per_s", "decode_msym_per_s", "bytes", "bytes_over_tables"]
    return table([k.replace("_", " ") for k in keys], [[row[k] for k in keys] for row in rows])


def rate(folder: Path) -> str:
    rows = [json.loads(line) for line in run("benchmarks/rate_accounting.py", str(folder)).splitlines()]
    return table([k.replace("_", " ") for k in rows[0]], [list(row.values()) for row in rows])


def package() -> str:
    code = "import time; t = time.perf_counter(); import promptcodec; print(time.perf_counter() - t)"
    seconds = min(float(run("-c", code)) for _ in range(5))
    with tempfile.TemporaryDirectory() as wheels:
        run("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels, ".")
        size = sum(p.stat().st_size for p in Path(wheels).iterdir())
    return table(["import promptcodec", "wheel"], [[f"{1000 * seconds:.0f} ms", f"{size / 2**20:.1f} MiB"]])


TITLES = {
    "kodak": "Rate and distortion on Kodak",
    "speed": "Speed and memory",
    "coder": "Entropy coder, one core",
    "rate": "Estimated and real bytes on Kodak",
    "package": "Package",
}


def write(sections: dict[str, str]) -> None:
    """All sections into the page, those not given as they were."""
    old = TARGET.read_text() if TARGET.exists() else ""
    out = ["# Numbers\n\nWritten by `python benchmarks/write_numbers.py`; do not edit.\n"]
    for name, title in TITLES.items():
        found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", old, re.DOTALL)
        body = sections.get(name) or (found.group(1) if found else "not measured yet")
        out.append(f"## {title}\n\n<!-- {name} -->\n{body}\n<!-- /{name} -->\n")
    TARGET.write_text("\n".join(out))
    quote()


def quote() -> None:
    """Into the README: the page's comparison with the peers and each model's speed; into the model card: its curve."""
    page = TARGET.read_text()
    rates = re.search(r"(BD-rate.*?)\n\nMean difference", page, re.DOTALL)
    speeds = re.findall(r"^\*\*.*$", page, re.MULTILINE)
    parts = ["On Kodak's 24 pictures. " + rates.group(1)] if rates else []
    _between(README, "summary", "\n\n".join([*parts, *speeds]))
    curve = re.search(r"^Means over.*?(?=\n\nBD-rate)", page, re.DOTALL | re.MULTILINE)
    if curve is not None:
        _between(CARD, "table", "Kodak. " + curve.group(0))


def _between(path: Path, name: str, text: str) -> None:
    """Replace what stands between the two markers called ``name``."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = path.read_text().split(start)
    path.write_text(before + start + text + "\n" + end + rest.split(end)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", choices=TITLES, default=list(TITLES))
    options = parser.parse_args()
    measure: dict[str, Callable[[], str]] = {
        "kodak": lambda: kodak(options.folder, options.results, options.threads),
        "speed": lambda: speed(options.folder, options.threads),
        "coder": coder,
        "rate": lambda: rate(options.folder),
        "package": package,
    }
    for name in options.only:
        write({name: measure[name]()})
        print(f"{name}: written")


if __name__ == "__main__":
    main()
