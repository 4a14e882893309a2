"""What recognisers see in coded pictures: the measurements, the figure and the table of docs/tasks.md.

    python -m benchmarks.results.machine_tasks detect COCO_VAL --networks NETWORKS --rows detect.jsonl
    python -m benchmarks.results.machine_tasks classify IMAGENET --rows classify.jsonl

Runs ``promptcodec eval --task`` at four settings a codec, which goes on where it was cut off: the rows hold every
prediction, and are too large for the repository. The summary stays in benchmarks/results/task-TASK.json, the figure in
docs/figures/task-TASK.png; ``--table`` writes the stored summaries into docs/tasks.md without measuring.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.marked import replace_marked, split_marked

RESULTS = Path(__file__).parent
DOCS = RESULTS.parents[1] / "docs"
PAGE = DOCS / "tasks.md"
LADDER = {  # quality, quantiser or distance, from few bits to many
    "promptcodec": (0, 15, 30, 50), "jpeg": (5, 10, 20, 40), "webp": (0, 15, 40, 70), "avif": (10, 22, 35, 50),
    "jpegxl": (15, 9, 5, 2.5), "vvc": (46, 41, 36, 31),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """How a task is measured, and the scores of it that the page shows."""

    coded_size: str
    recognisers: tuple[str, ...]
    scores: tuple[str, ...]


RUNS = {
    "detect": Run("input", ("yolox-nano",), ("box_map", "agreement")),
    "classify": Run("native", ("efficientnet-lite2", "efficientnet-lite1"), ("top1", "agreement")),
}


def measure(task: str, pictures: Path, rows: Path, networks: Path | None) -> None:
    """Measure what ROWS lacks, draw the figure, and keep the summary."""
    split_marked(PAGE, task)  # not after hours of measuring
    run = RUNS[task]
    command = [sys.executable, "-m", "promptcodec", "eval", str(pictures), "--task", task, "--threads", "1",
               "--coded-size", run.coded_size, "-o", str(rows), "--json",
               "--plot", str(DOCS / "figures" / f"task-{task}.png")]  # fmt: skip
    for name in run.recognisers:
        command += ["--recogniser", name]
    for codec, settings in LADDER.items():
        command += ["--codec", codec, *(part for s in settings for part in ("-q", f"{codec}={s:g}"))]
    if networks is not None:
        command += ["--networks", str(networks)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    stored = RESULTS / f"task-{task}.json"
    stored.write_text(json.dumps(json.loads(done.stdout), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_table() -> None:
    """Write the tasks that have a stored summary into docs/tasks.md."""
    for task, run in RUNS.items():
        stored = RESULTS / f"task-{task}.json"
        if stored.exists():
            tables = json.loads(stored.read_text("utf-8"))["tables"]
            lines = [line for table in tables if table["score"] in run.scores for line in _table(table)]
            replace_marked(PAGE, task, "\n".join(lines))


def _table(table: dict[str, Any]) -> list[str]:
    """Return a score's table: a row a codec, its settings, and the comparison with ours; below it, what the comparisons
    warn of.
    """
    ours = next(label for label in table["curves"] if label.startswith("promptcodec"))
    against = {entry["anchor"]: entry for entry in table["comparisons"] if entry["codec"] == ours}
    lines = [
        f"*{table['title']}*, {table['recogniser']}, {table['pictures']} pictures coded at {table['coded_size']} size: "
        f"originals {table['original']['value']:.1f} ± {table['original']['error'] or 0:.1f} %",
        "",
        f"| codec | bpp: score in % | BD-rate of {ours} | BD-accuracy |",
        "|---|---|---|---|",
    ]
    for label, points in table["curves"].items():
        cells = ", ".join(f"{p['bpp']:.2f}: {p['score']['value']:.1f}" for p in points)
        entry = against.get(label, {"rate": None, "accuracy": None, "warnings": []})
        mark = " \\*" if entry["warnings"] else ""
        rate, accuracy = _with_error(entry["rate"], " %"), _with_error(entry["accuracy"])
        lines.append(f"| {label} | {cells} | {rate}{mark} | {accuracy}{mark} |")
    return [*lines, "", *_footnote(against)]


def _footnote(against: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line of the comparisons' warnings, each with the anchors that it is about."""
    anchors: dict[str, list[str]] = {}
    for anchor, entry in against.items():
        if entry["warnings"]:
            anchors.setdefault("; ".join(entry["warnings"]), []).append(anchor)
    text = ". ".join(f"Against {', '.join(names)}: {warning}" for warning, names in anchors.items())
    return [f"\\* {text}.", ""] if text else []


def _with_error(estimate: dict[str, float | None] | None, unit: str = "") -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    error = "" if estimate["error"] is None else f" ± {estimate['error']:.1f}"
    return f"{estimate['value']:+.1f}{error}{unit}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", nargs="?", choices=RUNS)
    parser.add_argument("pictures", nargs="?", type=Path)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--networks", type=Path)
    parser.add_argument("--table", action="store_true", help="only write what is stored into the page")
    arguments = parser.parse_args()
    if not arguments.table:
        if None in (arguments.task, arguments.pictures, arguments.rows):
            parser.error("give a task, its pictures and --rows, or --table")
        measure(arguments.task, arguments.pictures, arguments.rows, arguments.networks)
    write_table()


if __name__ == "__main__":
    main()
