"""Fuzz everything and count: executions, crashes, hangs over five seconds, memory above the limit.

    python fuzz/run.py                       # a million executions and more without torch, thousands with the model
    python fuzz/run.py --scale 0.01          # a try
    python fuzz/run.py --keep                # and what reached new code joins fuzz/corpus

Needs atheris (``pip install -e '.[fuzz]'``). Writes benchmarks/results/fuzz.json; inputs that crash go to --crashes.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import FrameType

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
RESULT = HERE.parent / "benchmarks" / "results" / "fuzz.json"
SECONDS = 5  # a run that takes longer counts as a hang
CHUNK = 100_000  # executions a process
# Executions, and megabytes that a process may take, the interpreter with its libraries included.
PLAN = {
    "container": (600_000, 400), "stream": (300_000, 400), "coding": (60_000, 400), "tables": (160_000, 400),
    "decoder": (8_000, 1500), "latents": (2_000, 1500),
}  # fmt: skip


def fuzz(target: str, executions: int, megabytes: int, corpus: Path, crashes: Path) -> dict[str, float]:
    """Totals over as many processes as it takes; a crash ends a process, and the next one goes on."""
    total = {
        "executions": 0,
        "crashes": 0,
        "hangs": 0,
        "slow_once": 0,
        "out_of_memory": 0,
        "peak_mib": 0,
        "slowest_s": 0,
    }
    start, seed = time.monotonic(), 0
    while total["executions"] < executions:
        seed += 1
        runs = min(CHUNK, executions - total["executions"])
        command = [
            sys.executable, str(HERE / "fuzz.py"), target, f"-runs={runs}", f"-seed={seed}", f"-timeout={SECONDS}",
            f"-rss_limit_mb={megabytes}", "-print_final_stats=1", f"-artifact_prefix={crashes / target}-",
            str(corpus), str(CORPUS / target),
        ]  # fmt: skip
        done = subprocess.run([c for c in command if c != str(CORPUS / target) or (CORPUS / target).is_dir()],
                              capture_output=True, text=True, errors="replace", check=False)  # fmt: skip
        found = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
        if not int(found.get("number_of_executed_units", 0)):
            raise SystemExit(f"{target} did not run:\n{done.stderr[-2000:]}")
        total["executions"] += int(found["number_of_executed_units"])
        total["peak_mib"] = max(total["peak_mib"], int(found["peak_rss_mb"]))
        total["slowest_s"] = max(total["slowest_s"], int(found["slowest_unit_time_sec"]))
        if done.returncode:
            total[_kind(target, done.stderr)] += 1
            print(done.stderr[-1500:], file=sys.stderr)
    covered = re.findall(r"cov: (\d+)", done.stderr)
    return {**total, "branches_reached": int(covered[-1]) if covered else 0, "seconds": round(time.monotonic() - start)}


def _kind(target: str, said: str) -> str:
    if "timeout after" not in said:
        return "out_of_memory" if "out-of-memory" in said else "crashes"
    # libFuzzer's clock goes on while the machine is busy with others or the process is stopped: look again, alone.
    (path,) = re.findall(r"Test unit written to (\S+)", said)
    command = [sys.executable, str(HERE / "fuzz.py"), target, f"-timeout={SECONDS}", path]
    again = [subprocess.run(command, capture_output=True, check=False).returncode for _ in range(3)]
    return "hangs" if all(again) else "slow_once"


def keep(target: str, corpus: Path) -> None:
    """Into the committed corpus, smallest first, what reaches lines that nothing there reaches."""
    from targets import TARGETS

    committed = sorted((CORPUS / target).iterdir())
    reached = set().union(*(_lines(TARGETS[target], path.read_bytes()) for path in committed))
    for path in sorted(corpus.iterdir(), key=lambda found: found.stat().st_size):
        lines = _lines(TARGETS[target], path.read_bytes())
        if not lines <= reached:
            reached |= lines
            shutil.copy(path, CORPUS / target / path.name[:12])


def _lines(function: Callable[[bytes], None], data: bytes) -> set[tuple[str, int]]:
    """Lines of promptcodec that run."""
    found = set()

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        if "promptcodec" not in frame.f_code.co_filename:
            return None
        found.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        function(data)
    finally:
        sys.settrace(None)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", default=list(PLAN))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--crashes", type=Path, default=Path("crashes"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    options.crashes.mkdir(exist_ok=True)
    results = json.loads(options.out.read_text())["targets"] if options.out.exists() else {}
    for target in options.targets:
        executions, megabytes = PLAN[target]
        with tempfile.TemporaryDirectory() as folder:
            if target == "decoder":
                from whole_decoder import write_seeds

                write_seeds(Path(folder))
            results[target] = fuzz(target, round(executions * options.scale), megabytes, Path(folder), options.crashes)
            if options.keep and (CORPUS / target).is_dir():
                keep(target, Path(folder))
        print(json.dumps({"target": target, **results[target]}), flush=True)
        about = {"python": platform.python_version(), "atheris": version("atheris"), "limit_s": SECONDS,
                 "limit_mib": {name: limit for name, (_, limit) in PLAN.items()}}  # fmt: skip
        options.out.write_text(json.dumps({"about": about, "targets": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
