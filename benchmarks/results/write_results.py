"""Measure what docs/results.md shows, and write that page, the README's summary and the model card's table.

    python -m benchmarks.results.write_results --kodak DIR --cid22 DIR --coco DIR --networks DIR [--only SET ...]

Rows of peers in benchmarks/results/eval/ are kept as they are; what is missing is measured. Rows of models and adapters
that no longer ship go: after new weights the same command measures these alone. SETs: kodak, cid22, look, region,
content, speed, jobs; ``page`` measures nothing. Run speed and jobs on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.marked import replace_marked
from benchmarks.results.ladders import CID22, DISTS, KODAK, LADDERS, LOOK, LOOK_CHECKED, LOOKS, VVC, Ladders
from promptcodec.evaluate.codecs.evaluated_codec import OURS
from promptcodec.evaluate.packed import Results, pack, unpack
from promptcodec.evaluate.pages.page import table
from promptcodec.evaluate.results import ResultsFile, Row
from promptcodec.evaluate.summary import summarise
from promptcodec.store.shipped import DEFAULT, shipped_models
from promptcodec.store.shipped_adapters import shipped_adapters

ROOT = Path(__file__).resolve().parents[2]
STORE = Path("benchmarks/results/eval")
PAGE = Path("docs/results.md")
README = ROOT / "README.md"
CARDS = ROOT / "src" / "promptcodec" / "store" / "weights"
METRICS = "psnr_yuv,lpips_alex"
_ANCHORS = """vtm vvc420-vvenc-medium av1 hm bpg elic cheng2020-attn cheng2020-anchor mbt2018 mbt2018-mean
bmshj2018-hyperprior bmshj2018-factorized song"""
ANCHORS = [f"kodak/{name}" for name in _ANCHORS.split()]
DRAWN = ["kodak/vtm", "kodak/bpg", "kodak/cheng2020-attn", "kodak/mbt2018-mean"]
SPEED_SETTINGS = {"promptcodec": 50, "promptcodec:small": 50, "jpeg": 50, "webp": 60, "jpeg2000": 0.5, "jpegxl": 4,
                  "avif": 45, "avif-psnr": 38, "heic": 40, "vvc": 34}  # fmt: skip
DISTS_PICTURES = ("kodim07", "kodim19")
VVC_PICTURES = ("kodim01", "kodim07", "kodim13", "kodim19")


def run(*arguments: str) -> str:
    """Standard output of a Python process with these arguments; its errors are ours."""
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout


def evaluated(
    name: str, plans: Sequence[tuple[Sequence[Path | str], Ladders, str]], networks: Path | None
) -> list[Row]:
    """The stored rows that still hold, and what the plans (pictures, settings by codec, metrics) add.

    What is measured is kept in runs/results-NAME.jsonl until all of it is there: a cut-off command goes on.
    """
    stored, unfinished = STORE / f"{name}.json", ROOT / "runs" / f"results-{name}.jsonl"
    rows = [*(unpack(stored).rows if stored.exists() else ()), *ResultsFile(unfinished)]
    unfinished.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=unfinished.parent) as folder:
        valid = ResultsFile(Path(folder) / "rows.jsonl")
        for row in filter(_holds(), rows):
            valid.append(row)
        if rows:
            valid.path.replace(unfinished)
    for pictures, settings, metrics in plans:
        command = ["eval", *map(str, pictures), "--output", str(unfinished), "--json"]
        command += [f"--codec={name}" for name in settings]
        command += [f"--quality={name}={value}" for name, values in settings.items() for value in values]
        command += [f"--metric={name}" for name in metrics.split(",") if name]
        run("-m", "promptcodec", *command, *(["--networks", str(networks)] if networks else []))
    rows = list(ResultsFile(unfinished))
    unfinished.unlink()
    return rows


def _holds() -> Callable[[Row], bool]:
    """Whether a row is of a peer, or of models and adapters that ship now."""
    models = {metadata["fingerprint"] for metadata in shipped_models().values()}
    adapters = {f"{adapter.name} {adapter.fingerprint}" for adapter in shipped_adapters()}

    def holds(row: Row) -> bool:
        fingerprint = row.options.get("fingerprint")
        return fingerprint in {None, *models} and adapters.issuperset(row.options.get("adapters", ()))

    return holds


def kodak(options: argparse.Namespace) -> None:
    chosen = [[options.kodak / f"{name}.png" for name in names] for names in (VVC_PICTURES, DISTS_PICTURES)]
    plans: list[tuple[list[Path], Ladders, str]]
    plans = [([options.kodak], LADDERS, ""), ([options.kodak], KODAK, METRICS)]
    plans += [(chosen[0], VVC, METRICS), (chosen[1], DISTS, METRICS + ",dists")]
    rows = evaluated("kodak", plans, options.networks)
    exceptions = [
        f"{name} on {', '.join(sorted({row.picture.removesuffix('.png') for row in partial}))} alone"
        for name, partial in (
            ("VVC", [row for row in rows if row.codec == "vvc"]),
            ("DISTS", [row for row in rows if "dists" in row.scores]),
        )
        if partial
    ]
    note = (
        f"24 pictures of 768x512, all codecs on all of them{''.join(f'; {e}' for e in exceptions)}. LPIPS is version "
        "0.1 on AlexNet, DISTS is at the pictures' own size. JPEG is 4:2:0, optimised and progressive; AVIF at "
        "Pillow's defaults (4:2:0) and, as `avif-psnr`, 4:4:4 and tuned for PSNR; `heic` as phones use it (4:2:0, "
        "tuned for SSIM), `heic-psnr` 4:4:4 and tuned for PSNR; VVC, measured or stored, is VVenC, 4:2:0 at 10 bits."
    )
    extra = {"curves": ANCHORS, "drawn": DRAWN}
    pack(Results("Kodak", "rd", tuple(rows), _commands("kodak"), note, extra), STORE / "kodak.json")


def cid22(options: argparse.Namespace) -> None:
    few = sorted(p for p in options.cid22.iterdir() if p.suffix in (".webp", ".png"))[::10]
    rows = evaluated("cid22", [([options.cid22], CID22, METRICS), (few, VVC, METRICS)], options.networks)
    pictures = len({row.picture for row in rows})
    note = (
        f"{pictures} pictures of 512x512 of Cloudinary's CID22 (CC BY-SA 4.0), whose validation set has 49: people, "
        f"food, interiors and objects; VVC on {', '.join(path.stem for path in few)} alone."
    )
    pack(Results("CID22", "rd", tuple(rows), _commands("cid22"), note), STORE / "cid22.json")


def look(options: argparse.Namespace) -> None:
    def measured(name: str, title: str, pictures: Path, looks: Sequence[float], checked: bool) -> None:
        codecs = [f"promptcodec:nano+look@look={value:g}" for value in looks]
        plans: list[tuple[Sequence[Path | str], dict[str, Sequence[float]], str]]
        plans = [([pictures], dict.fromkeys(codecs, LOOK), "lpips_alex")]
        if checked:
            plans.append(([pictures], {codecs[i]: LOOK_CHECKED for i in (0, -1)}, "lpips_vgg,dists"))
        rows = evaluated(f"{name}-look", plans, options.networks)
        note = (
            "One file, any look: the shipped `look` adapter acts in the decoder alone, and was trained for LPIPS. "
            "look=0 is nearly the base's picture."
        )
        results = Results(title, "range", tuple(rows), _commands("look"), note, {"peers": f"{name}.json"})
        pack(results, STORE / f"{name}-look.json")

    measured("kodak", "Look, Kodak", options.kodak, LOOKS, True)
    measured("cid22", "Look, CID22", options.cid22, LOOKS[:: len(LOOKS) - 1], False)


def region(options: argparse.Namespace) -> None:
    codecs = dict.fromkeys(("promptcodec:nano", "promptcodec:nano+region"), LADDERS["promptcodec"])
    rows = evaluated("region", [([f"coco={options.coco}"], codecs, "psnr_inside,psnr_outside")], None)
    note = (
        "Pictures of COCO's validation set as papers on regions use them, squares of 512 pixels, the region being all "
        "annotated objects, by the shipped `region` adapter with its default background. After paper 003, Fig. 4."
    )
    pack(Results("Region of interest", "region", tuple(rows), _commands("region"), note), STORE / "region.json")


def content(options: argparse.Namespace) -> None:
    rows, lossless = [], {}
    peers = [f"--codec={n}" for n in ("jpeg", "webp", "jpeg2000", "jpegxl", "avif", "avif-psnr", "heic")]
    with tempfile.TemporaryDirectory() as folder:
        run("-m", "benchmarks.results.content_pictures", folder)
        for path in sorted(Path(folder).glob("*.png")):
            lines = run("-m", "promptcodec", "compare", str(path), *peers, "--json", "--overwrite")
            rows += [_row(json.loads(line)) for line in lines.splitlines()]
            with Image.open(path) as image:
                image.save(Path(folder) / "lossless.webp", lossless=True, method=6)
            sizes = {"png": path.stat().st_size, "webp": (Path(folder) / "lossless.webp").stat().st_size}
            lossless[path.name] = sizes
    note = (
        "This codec is made for photographs. Four pictures that are none, drawn by "
        "`benchmarks/results/content_pictures.py`: a screenshot, line art, icons and a gradient, at quality 50. "
        "Where a lossless file is hardly larger, or smaller, it is the right choice, and `encode` says so."
    )
    commands = ("promptcodec compare PICTURE --json", *_commands("content"))
    pack(
        Results("Not photographs", "equal-size", tuple(rows), commands, note, {"lossless": lossless}),
        STORE / "other.json",
    )


def _row(record: dict[str, Any]) -> Row:
    """What a line of ``compare --json`` says of a codec, without what every line of ``--json`` begins with."""
    return Row(**{field.name: record[field.name] for field in fields(Row)})


def speed(options: argparse.Namespace) -> None:
    pictures = [options.kodak / f"kodim{number:02}.png" for number in (5, 13, 19, 23)]
    settings = [f"--codec={name}" for name in SPEED_SETTINGS]
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "rows.jsonl")
        qualities = [f"--quality={name}={value}" for name, value in SPEED_SETTINGS.items()]
        command = ["eval", *map(str, pictures), *settings, *qualities, "--threads", "1", "--json"]
        run("-m", "promptcodec", *command, "--output", out)
        rows = tuple(ResultsFile(Path(out)))
    ours = next(row for row in rows if "fingerprint" in row.options)
    macs = _macs()
    note = (
        "Four pictures of Kodak (05, 13, 19, 23), one thread, nothing else running; encoding is pixels to file, "
        "decoding file to pixels. Settings of everyday use, not of equal rate or quality. Memory is that of the whole "
        f"process, with Python and torch. The shipped model costs {macs[0]:.1f} kMAC a pixel to encode and "
        f"{macs[1]:.1f} to decode; {_phases(ours)}"
    )
    extra = {"rates": "kodak.json", "anchor": "kodak/vtm"}
    pack(
        Results("Seconds and memory", "speed", rows, _commands("speed"), note, extra), STORE / "speed.json", times=True
    )


def _macs() -> tuple[float, float]:
    from promptcodec.evaluate.cost.complexity import parts, total

    counted = parts(network_of(promptcodec.load()), 512, 768)
    encode, decode = (total(counted, *names, "h_s", "context").macs.needed for names in (("g_a", "h_a"), ("g_s",)))
    return encode / 1e3 / 512 / 768, decode / 1e3 / 512 / 768


def _phases(row: Row) -> str:
    parts = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in row.phases.items())
    return f"of {row.picture}: {parts}."


def jobs(options: argparse.Namespace) -> None:
    runs = []
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            command = [
                "eval",
                str(options.kodak),
                "--output",
                f"{folder}/rows.jsonl",
                "--codec",
                "promptcodec",
                "--codec",
                "jpeg",
            ]
            command += ["--quality", "25", "--quality", "50", "--threads", "1", "--jobs", str(count), "--json"]
            seconds, mib = _watched([sys.executable, "-m", "promptcodec", *command])
            runs.append({"jobs": count, "rows": 96, "seconds": round(seconds, 1), "mib": round(mib)})
    note = (
        "`eval` over the 24 pictures of Kodak: the shipped model and JPEG at two qualities, PSNR and MS-SSIM, one "
        "thread a process. A second process pays for its start, some seconds, before it helps."
    )
    results = Results("Evaluation in several processes", "jobs", (), _commands("jobs"), note, {"runs": runs})
    pack(results, STORE / "speed-jobs.json")


def _watched(command: Sequence[str]) -> tuple[float, float]:
    """Wall seconds of a command, and the most memory (MiB) of it and its children at one time (Linux)."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    most = 0.0

    def watch() -> None:
        nonlocal most
        while process.poll() is None:
            most = max(most, _tree_mib(process.pid))
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    if process.wait():
        raise SystemExit(f"{command} failed")
    watcher.join()
    return time.perf_counter() - start, most


def _tree_mib(pid: int) -> float:
    """Proportional set size, so that pages shared between the processes count once."""
    total = 0.0
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total = float(re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)[1]) / 1024  # type: ignore[index]
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, TypeError):
        return total
    return total + sum(_tree_mib(int(child)) for child in children)


def quote() -> None:
    """Into the README: BD-rates against the peers on Kodak; into the models' cards: their means there."""
    looked = [row for row in unpack(STORE / "kodak-look.json").rows if row.codec.endswith("@look=1")]
    summary = summarise([*unpack(STORE / "kodak.json").rows, *looked])
    plain = {name: label for name in shipped_models() if (label := f"{OURS}:{name}") in summary.curves}
    (perceptual,) = {row.codec for row in looked}
    rates = {(e.codec, e.anchor, e.metric): e.result.percent for e in summary.bd_rates}
    metrics = {"PSNR": "psnr", "MS-SSIM": "ms_ssim", "LPIPS": "lpips_alex"}
    columns = {f"`{name}`, {title}": (label, m) for name, label in plain.items() for title, m in metrics.items()}
    columns |= {f"`{DEFAULT} --look 1`, {title}": (perceptual, metrics[title]) for title in ("PSNR", "LPIPS")}
    pictures = {e.anchor: e.pictures for e in summary.bd_rates if (e.codec, e.metric) == (plain[DEFAULT], "psnr")}
    rows = [[a, *(_percent(rates.get((codec, a, m))) for codec, m in columns.values())] for a in pictures]
    few = "".join(f"; {anchor}: on {count}" for anchor, count in pictures.items() if count != summary.pictures)
    text = (
        f"On Kodak's {summary.pictures} pictures{few}. BD-rate (negative: fewer bits than the peer at equal quality), "
    )
    text += "the last two of the same files decoded with the look adapter, which was trained for LPIPS:\n\n"
    replace_marked(README, "rates", text + table(["against", *columns], rows))
    for name, label in plain.items():
        means = [[f"{p.setting:g}", f"{p.bpp:.4f}", f"{p.psnr:.2f}", f"{p.ms_ssim:.4f}"] for p in summary.curves[label]]
        model = f"{label} (model {promptcodec.load(name).fingerprint})"
        text = f"Kodak. Means over {summary.pictures} pictures of real files, header included, {model}.\n\n"
        replace_marked(CARDS / f"{name}.md", "table", text + table(["quality", "bpp", "PSNR (dB)", "MS-SSIM"], means))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f} %"


def _commands(name: str) -> tuple[str, ...]:
    needed = {
        "kodak": ("kodak", "networks"),
        "cid22": ("cid22", "networks"),
        "content": (),
        "region": ("coco",),
        "look": ("kodak", "cid22", "networks"),
    }.get(name, ("kodak",))
    folders = "".join(f" --{option} FOLDER" for option in needed)
    return (f"python -m benchmarks.results.write_results{folders} --only {name}",)


MEASURES: dict[str, Callable[[argparse.Namespace], None]] = {
    "kodak": kodak, "cid22": cid22, "look": look, "region": region, "content": content, "speed": speed, "jobs": jobs,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kodak", type=Path)
    parser.add_argument("--cid22", type=Path)
    parser.add_argument("--coco", type=Path, help="pictures and instances.json")
    parser.add_argument("--networks", type=Path)
    parser.add_argument("--only", nargs="*", choices=[*MEASURES, "page"], default=list(MEASURES))
    options = parser.parse_args()
    for name in options.only:
        if name in MEASURES:
            MEASURES[name](options)
            print(f"{name}: measured")
    run("-m", "benchmarks.report", str(STORE), "-o", str(PAGE))
    quote()


if __name__ == "__main__":
    main()
