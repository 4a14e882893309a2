"""Write the tables of docs/trust.md and docs/exactness.md from the results that fuzz/run.py, interruptions.py and
exactness.py have left in benchmarks/results: ``python -m benchmarks.trust.trust_tables``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.marked import replace_marked
from promptcodec.evaluate.pages.page import table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
TRUST, EXACTNESS = ROOT / "docs" / "trust.md", ROOT / "docs" / "exactness.md"
WHAT = {
    "container": "container: parser, alpha, and writing what was read",
    "stream": "entropy decoder: any bytes, both coders",
    "coding": "entropy encoder: any symbols, both coders, there and back",
    "tables": "frequency tables, border offsets",
    "decoder": "whole decoder: damaged files",
    "latents": "whole decoder: sound files of hostile latents",
}


def read(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / name).read_text())  # type: ignore[no-any-return]


def fuzzing(results: dict[str, Any]) -> str:
    targets, limits = results["targets"], results["about"]["limit_mib"]
    rows = [[WHAT[name], f"{row['executions']:,}", row["crashes"], row["hangs"], row["out_of_memory"],
             f"{row['peak_mib']} / {limits[name]}"] for name, row in targets.items()]  # fmt: skip
    total = sum(row["executions"] for row in targets.values())
    head = [
        "what",
        "executions",
        "crashes",
        f"over {results['about']['limit_s']} s",
        "over memory",
        "peak / limit, MiB",
    ]
    once = sum(row["slow_once"] for row in targets.values())
    note = f" {once} inputs exceeded the time once, while the machine was busy, and not when run again alone." * bool(
        once
    )
    return table(head, rows) + f"\n\n{total:,} executions in all.{note}"


def interruptions(results: dict[str, Any]) -> str:
    kill, full = results["kill"], results["full"]
    return "\n".join([
        f"- {kill['killed']} batches killed, {kill['files_checked']:,} looks at what stood under a final name: "
        f"{kill['partial_files']} partial files, {kill['leftovers']} hidden temporary ones. "
        f"The last run finished the rest: `{kill['summary']}`.",
        f"- {full['runs']} batches onto a disk that is too small: {full['disk_full']} ended with exit code 1, "
        f"{full['one_line']} of them with the one line `No space left on device`, {full['partial_files']} left a "
        f"partial file and {full['leftovers']} a temporary one.",
    ])  # fmt: skip


def deviations(results: dict[str, Any]) -> str:
    rows, margins = [], next(iter(results["perturbed"].values()))
    for name, row in results["deviations"].items():
        worst = {key: max(setting[key] for setting in row.values() if isinstance(setting, dict))
                 for key in ("inside", "bin", "mean")}  # fmt: skip
        # Contextual means are no part of the exact path: no deviation of theirs, and no margin.
        reached = [margins[f"{key}_margin"] / worst[key] for key in ("bin", "mean") if worst[key]]
        rows.append([_named(results, name), len(row["units"]), row.get("latents", 4),
                     *(_magnitude(value) for value in worst.values()), f"{min(reached):,.0f}"])  # fmt: skip
    return table(["model", "intermediates", "latents z", "worst inside (relative)", "at the end: log σ (bins)", "μ",
                  "margin / deviation"], rows)  # fmt: skip


def perturbed(results: dict[str, Any]) -> str:
    rows = [
        [_named(results, name), f"{row['latents']:,}", f"{row['elements']:,}", f"{row['noise_most']:.0e}",
         f"{row['bin_moved']:.0e}", _magnitude(row["mean_moved"]),
         f"{row['largest_mean']:,.0f}" if row["largest_mean"] else "–",
         f"{1000 / row['margin_used']:,.0f}", row["mismatches"]]
        for name, row in results["perturbed"].items()
    ]  # fmt: skip
    margins = next(iter(results["perturbed"].values()))
    head = ["model", "latents z", "elements of y", "largest noise (relative)",
            f"log σ moved (margin {margins['bin_margin']:.0e} of a bin)",
            f"μ moved (margin {margins['mean_margin']:.0e}, more for large μ)", "largest μ",
            "margin reached at (times the deviation)", "other integers"]  # fmt: skip
    return table(head, rows)


def platforms(results: dict[str, Any]) -> str:
    head = ["processor", "Python", "torch", "vector instructions", "threads", "transforms", "same integers",
            "largest difference"]  # fmt: skip
    return table(head, list(_platform_rows(results["platforms"])))


def _platform_rows(rows: dict[str, Any]) -> Iterator[list[object]]:
    for row in sorted(rows.values(), key=lambda r: (r["python"], r["torch"], r["threads"], str(r["environment"]))):
        limited = ", ".join(f"{value} ({key.split('_')[0]})" for key, value in row["environment"].items())
        yield [row["processor"], row["python"], row["torch"], limited or row["instructions"], row["threads"],
               "bf16 autocast" if row["bf16_autocast"] else "float32",
               f"{row['agree']} of {row['models']} models" + f" ({row['note']})" * bool(row["note"]),
               f"{row['largest_difference']:.0e}"]  # fmt: skip
    yield ["GPU (CUDA)", "", "", "", "", "", "not run", ""]


def _magnitude(value: float) -> str:
    return f"{value:.0e}" if value else "–"


def _named(results: dict[str, Any], name: str) -> str:
    others = results["models"].get(name, [name])
    return ", ".join(others)


def main() -> None:
    exactness = read("exactness.json")
    replace_marked(TRUST, "fuzzing", fuzzing(read("fuzz.json")))
    replace_marked(TRUST, "interruptions", interruptions(read("interruptions.json")))
    for section in (deviations, perturbed, platforms):
        replace_marked(EXACTNESS, section.__name__, section(exactness))


if __name__ == "__main__":
    main()
