"""What care for speed has bought: phases of one encode and decode before and after, in turns on one machine.

    python -m benchmarks.speed.speed_pass PICTURE [--before COMMIT ...] [--openvino] [--model M ...] [--rounds N]
    python -m benchmarks.results.write_numbers PICTURES --only speed-pass    # the table of what was measured last

Rows: *plain*, torch's layers and attention as they come, on whole maps; the source of each ``--before``, from this
repository's history; *torch alone*, ours without compiled kernels; *now*; and with ``--openvino`` (``pip install
openvino``) the same transforms compiled by OpenVINO for this very size, half a minute each. Every round runs all rows,
each in a process of its own, which measures the convolution peak as well. Of a phase, the table shows the least seconds
and the median of its shares of the peak. Results, by model, are in benchmarks/results/speed_pass.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import timeit
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.speed.backbone_speed import plain
from promptcodec.evaluate.cost.bench import bench, convolution_peak, untrained
from promptcodec.evaluate.pages.page import table as markdown_table
from promptcodec.model.layers.transforms import pad_to_multiple
from promptcodec.picture.read import read
from promptcodec.store.shipped import shipped_models
from promptcodec.system.allocator import keep_large_blocks

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "speed_pass.json"
PHASES = ("analysis", "synthesis")


def measured(model: str, picture: Path, threads: int, how: str) -> dict[str, float]:
    """Seconds of the phases, their GMAC and the convolution peak, in this process; ``how``: as --one has it."""
    keep_large_blocks()
    torch.set_num_threads(threads)
    codec = promptcodec.load(model) if model in shipped_models() else untrained(model)
    with contextlib.ExitStack() as stack:
        if how in ("plain", "openvino"):
            stack.enter_context(plain())
        if how == "torch":
            from promptcodec.model.kernels.workers import torch_alone  # not yet in sources before

            stack.enter_context(torch_alone())
        if how == "openvino":
            return _openvino(codec, picture, threads)
        report = asdict(bench(codec, picture, 6))
    phases = {p["name"]: p for p in report["phases"]}
    out = {name: phases[name]["seconds"] for name in PHASES} | {"peak_gflops": report["peak_gflops"]}
    return out | {f"{name}_gmac": phases[name]["gmac"] for name in PHASES}


def _openvino(codec: Any, picture: Path, threads: int) -> dict[str, float]:
    import openvino

    network = network_of(codec)
    rgb = torch.from_numpy(read(picture).rgb.copy()).permute(2, 0, 1)[None].float() / 255
    seconds = {"peak_gflops": convolution_peak(10)}
    with torch.no_grad():
        x = pad_to_multiple(rgb, 64)
        inputs = {"analysis": (network.g_a, x), "synthesis": (network.g_s, network.g_a(x).round())}
        for name, (transform, value) in inputs.items():
            graph = openvino.convert_model(transform, example_input=(value,), input=[list(value.shape)])
            settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
            request = openvino.Core().compile_model(graph, "CPU", settings).create_infer_request()
            seconds[name] = min(timeit.repeat(partial(request.infer, [value.numpy()]), number=1, repeat=4))
    return seconds


def turn(tree: Path, how: str, model: str, picture: Path, threads: int) -> dict[str, float]:
    """One row's figures, by the code in ``tree``."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed.speed_pass",
        str(picture),
        "--model",
        model,
        "--threads",
        str(threads),
        "--one",
        how,
    ]
    environment = {"PYTHONPATH": f"{tree / 'src'}:{ROOT}"}
    done = subprocess.run(command, env=dict(os.environ) | environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def table(results: dict[str, Any]) -> str:
    """Milliseconds and share of the peak by model and row."""
    rows = []
    for model, measurements in results["models"].items():
        for name, runs in measurements["rows"].items():
            cells = []
            for phase in PHASES:
                share = median(2 * measurements[f"{phase}_gmac"] / run[phase] / run["peak_gflops"] for run in runs)
                cells += [f"{1000 * min(run[phase] for run in runs):.0f}", f"{100 * share:.0f} %"]
            rows.append([f"{model}, {measurements['threads']} threads, {measurements['instructions']}", name, *cells])
    head = ["model", "code", "analysis, ms", "of peak", "synthesis, ms", "of peak"]
    return markdown_table(head, rows)


def main() -> None:
    """Measure in turns, keep, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", nargs="+", default=["nano", "tic"])
    parser.add_argument("--before", nargs="*", default=[], help="commits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--openvino", action="store_true")
    parser.add_argument("--one", choices=["plain", "torch", "openvino", "now"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.model[0], options.picture, options.threads, options.one)))
        return
    with contextlib.ExitStack() as stack:
        trees = [("plain", ROOT, "plain")]
        for commit in options.before:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "tree"
            subprocess.run(["git", "worktree", "add", "-q", "--detach", folder, commit], cwd=ROOT, check=True)
            remove = ["git", "worktree", "remove", "--force", str(folder)]
            stack.callback(partial(subprocess.run, remove, cwd=ROOT, check=True))
            trees.append((commit, folder, "now"))
        trees += [("torch alone", ROOT, "torch"), ("now", ROOT, "now")]
        if options.openvino:
            trees.append(("OpenVINO", ROOT, "openvino"))
        results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"models": {}}
        for model in options.model:
            measurements: dict[str, Any] = {"rows": {}}
            for _ in range(options.rounds):
                for name, tree, how in trees:
                    one = turn(tree, how, model, options.picture, options.threads)
                    if name == "now":  # torch's counter does not know fused attention
                        measurements |= {key: one[key] for key in one if key.endswith("_gmac")}
                    kept = {key: one[key] for key in (*PHASES, "peak_gflops")}
                    measurements["rows"].setdefault(name, []).append(kept)
                    print(model, name, one, flush=True)
            machine = {"threads": options.threads, "instructions": torch.backends.cpu.get_cpu_capability()}
            results["models"][model] = machine | measurements
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
