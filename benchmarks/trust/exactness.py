"""How far the path to a probability is from ever giving two machines different integers; docs/exactness.md.

    python -m benchmarks.trust.exactness deviations            # every intermediate under other settings of this machine
    python -m benchmarks.trust.exactness perturb [MODEL ...]   # every intermediate moved by 1000 times its worst
    python -m benchmarks.trust.exactness reference             # writes what other platforms are compared with
    python -m benchmarks.trust.exactness platform [--threads N] [--bf16] [--note TEXT]   # a row for this platform

--latents says how many; --prior draws them from the hyperprior of a model that ships instead of from all magnitudes.
Models that do not ship get weights made of integers, the same on every platform. All write to
benchmarks/results/exactness.json, but for the reference, benchmarks/results/exactness_reference.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.trust.intermediates import FACTOR, ROUNDING, Noise, Record, Seen, largest_deviation
from benchmarks.trust.probability_path import coded, forced, hyper_networks, random_latents
from promptcodec.bitstream.tables import BINS, SIGMA_MAX, SIGMA_MIN
from promptcodec.codec.exact import BIN_MARGIN, GRID, MEAN_MARGIN, choose_offsets, mean_margin, quantise_parameters
from promptcodec.model.arrays import Float64s
from promptcodec.model.inference.exact_hyper import ExactHyper
from promptcodec.model.presets.registry import PRESETS
from promptcodec.store.shipped import shipped_models

FOLDER = Path(__file__).resolve().parents[1] / "results"
RESULTS, REFERENCE = FOLDER / "exactness.json", FOLDER / "exactness_reference.json"
LATENTS = 10_000
BATCH = 4
PRIOR = ", z of its prior"  # what the rows of --prior add to the model's name
BIN_WIDTH = math.log(SIGMA_MAX / SIGMA_MIN) / (BINS - 1)
SETTINGS = {
    "two threads": {"threads": "2"},
    "oneDNN off": {"onednn": "off"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "no vector instructions, SSE4.1": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE",
    },
}  # fmt: skip


def models() -> dict[str, list[str]]:
    """Every path to a probability by the first model that has it, with all models that do."""
    paths: dict[str, list[str]] = {}
    first: dict[str, str] = {}
    for name, preset in PRESETS.items():
        cfg = preset()
        path = repr((cfg.hyper_synthesis, cfg.context, cfg.latent_channels, cfg.scale, cfg.gain))
        paths.setdefault(first.setdefault(path, name), []).append(name)
    return paths


def moved(log_sigma: Float64s, mean: Float64s, other_log_sigma: Float64s, other_mean: Float64s) -> tuple[float, float]:
    """How far apart two results of a step are: in widths of a bin, where bins have borders, and of the mean."""
    position = (log_sigma - math.log(SIGMA_MIN)) / BIN_WIDTH
    inside = (position > -0.5) & (position < BINS - 0.5)
    with np.errstate(invalid="ignore"):  # of no scale at all, log sigma is -inf on both sides
        apart = (np.abs(other_log_sigma - log_sigma) / BIN_WIDTH)[inside]
    return float(apart.max()) if apart.size else 0.0, float(np.abs(other_mean - mean).max())


def perturb(
    name: str, seen: list[int], latents: int, prior: bool = False, batch: int = BATCH, seed: int = 1
) -> dict[str, Any]:
    """Random latents through ``name`` as an encoder settles them and again with noise on every intermediate.

    ``seen``: the worst deviation of each in units of rounding; at least one is taken. Noise is relative to the largest
    value of a batch: a larger one is quicker and no less strict, but attention runs its operations once a sample, and
    then the batch must be the one with which deviations were seen.
    """
    one, rng = hyper_networks(name), np.random.default_rng(seed)
    noise = Noise([FACTOR * ROUNDING * max(units, 1) for units in seen])
    noise.generator.manual_seed(seed)
    elements = differing = 0
    bins_moved = means_moved = largest_mean = used_up = 0.0
    used = np.zeros(BINS, np.int64)
    start = time.process_time()
    for _ in range(latents // batch):
        z, q, shape = random_latents(one, batch, rng, prior)
        steps, y_hat = coded(one, z, q, rng, shape)
        noise.place = 0
        for (offsets, settled, log_sigma, mean), (noisy, noisy_mean) in zip(
            steps, forced(one, z, q, y_hat, noise), strict=True
        ):
            again = quantise_parameters(noisy, noisy_mean, offsets)
            differing += int(((again.bins != settled.bins) | (again.means != settled.means)).sum())
            elements += settled.bins.size
            used += np.bincount(settled.bins.reshape(-1), minlength=BINS)
            bin_moved, mean_moved = moved(log_sigma, mean, noisy, noisy_mean)
            bins_moved, means_moved = max(bins_moved, bin_moved), max(means_moved, mean_moved)
            largest_mean = max(largest_mean, float(np.abs(mean).max()))
            used_up = max(used_up, bin_moved / BIN_MARGIN, mean_moved / mean_margin(mean))
    return {
        "latents": latents // batch * batch, "side": z.shape[-1], "elements": elements,
        "bins_used": int((used > 0).sum()),
        "intermediates": noise.place, "noise_least": min(noise.amplitudes), "noise_most": max(noise.amplitudes),
        "bin_moved": bins_moved, "bin_margin": BIN_MARGIN, "mean_moved": means_moved,
        "mean_margin": MEAN_MARGIN, "largest_mean": largest_mean, "margin_used": used_up, "mismatches": differing,
        "cpu_s": round(time.process_time() - start),
    }  # fmt: skip


SUMS = ("latents", "elements", "mismatches", "cpu_s")
LARGEST = ("bins_used", "bin_moved", "mean_moved", "largest_mean", "margin_used")


def joined(kept: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """What two runs of ``perturb`` over different latents of one model say together."""
    return row | {key: kept[key] + row[key] for key in SUMS} | {key: max(kept[key], row[key]) for key in LARGEST}


def probe(folder: Path) -> None:
    """In a process of its own settings: worst deviations of every model from what ``folder`` holds."""
    for path in sorted(folder.glob("*.pt")):
        one = hyper_networks(path.stem)
        rows = [_probe_one(one, path.stem, record) for record in torch.load(path, weights_only=True)]
        inside, bins, means = zip(*rows, strict=True)
        worst = {"inside": list(map(max, zip(*inside, strict=True))), "bin": max(bins), "mean": max(means)}
        print(json.dumps({"model": path.stem, **worst}), flush=True)


def _probe_one(one: ExactHyper, name: str, record: dict[str, Any]) -> tuple[list[int], float, float]:
    mode = Record()
    results = forced(one, record["z"].numpy(), record["q"], record["y_hat"].numpy(), mode)
    if [t.shape for t in mode.kept] != [t.shape for t in record["kept"]]:
        raise SystemExit(f"{name}: other operations ran")
    inside = [math.ceil(largest_deviation(*pair) / ROUNDING) for pair in zip(record["kept"], mode.kept, strict=True)]
    bins, means = zip(
        *(moved(a[0].numpy(), a[1].numpy(), *b) for a, b in zip(record["found"], results, strict=True)), strict=True
    )
    return inside, max(bins), max(means)


def deviations(names: list[str], latents: int = BATCH, prior: bool = False, one_thread: bool = False) -> dict[str, Any]:
    """Largest deviations by model and setting: of the intermediates, as a share of the largest value in the same tensor
    (and of each in ``units`` of rounding, over all settings), and at the end, in widths of a bin and of the mean.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            one, rng = hyper_networks(name), np.random.default_rng(2)
            records = []
            for _ in range(latents // BATCH):
                z, q, shape = random_latents(one, BATCH, rng, prior)
                _, y_hat = coded(one, z, q, rng, shape)
                mode = Record()
                outcome = forced(one, z, q, y_hat, mode)
                pairs = [tuple(map(torch.from_numpy, pair)) for pair in outcome]
                latents_of = {"z": torch.from_numpy(z), "q": q, "y_hat": torch.from_numpy(y_hat)}
                records.append(latents_of | {"found": pairs, "kept": mode.kept})
            torch.save(records, Path(folder) / f"{name}.pt")
        results: dict[str, Any] = {name: {"latents": latents // BATCH * BATCH} for name in names}
        for setting, variables in SETTINGS.items():
            if one_thread and "threads" in variables:
                continue
            command = [
                sys.executable,
                "-m",
                "benchmarks.trust.exactness",
                "probe",
                folder,
                variables.get("threads", "1"),
                variables.get("onednn", "on"),
            ]
            environment = os.environ | {k: v for k, v in variables.items() if k.isupper()}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            for line in map(json.loads, done.stdout.splitlines()):
                row = results[line.pop("model")]
                units = line.pop("inside")
                row["units"] = [max(pair) for pair in zip(units, row.get("units", units), strict=True)]
                row[setting] = {"inside": max(units) * ROUNDING, **line}
                print(setting, row[setting], flush=True)
    return results


def digest(one: ExactHyper, offsets: list[bytes] | None) -> dict[str, Any]:
    """SHA-256 over the bins and means of fixed latents, settled here or by given offsets, and samples of what they
    were made of."""
    rng = np.random.default_rng(3)
    z, q, shape = random_latents(one, 8, rng)
    y_hat = rng.integers(-1000, 1001, shape) / GRID
    steps = forced(one, z, q, y_hat, Seen())
    used = offsets or [choose_offsets(*step) for step in steps]
    hasher, sample = hashlib.sha256(), []
    for (log_sigma, mean), chosen in zip(steps, used, strict=True):
        settled = quantise_parameters(log_sigma, mean, chosen)
        hasher.update(settled.bins.tobytes() + settled.means.astype("<i4").tobytes())
        sample += [float(t.reshape(-1)[-1]) for t in (log_sigma, mean)]
    return {"sha256": hasher.hexdigest(), "offsets": [o.hex() for o in used], "sample": sample[-16:]}


def platform_row(threads: int, bf16: bool, note: str) -> dict[str, Any]:
    """Whether this platform settles the reference's latents as the platform did that wrote it."""
    torch.set_num_threads(threads)
    reference = json.loads(REFERENCE.read_text())
    agree, worst = 0, 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for name, expected in reference.items():
            digests = digest(hyper_networks(name), [bytes.fromhex(o) for o in expected["offsets"]])
            agree += digests["sha256"] == expected["sha256"]
            finite = [(a, b) for a, b in zip(digests["sample"], expected["sample"], strict=True) if math.isfinite(a)]
            worst = max([worst, *(abs(a - b) for a, b in finite)])
    variables = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
    return {
        "processor": _processor(), "python": platform.python_version(), "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(), "threads": threads, "bf16_autocast": bf16,
        "environment": {v: os.environ[v] for v in variables if v in os.environ}, "note": note,
        "models": len(reference), "agree": agree, "largest_difference": worst,
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def update(key: str, value: Any) -> None:
    """Write ``value`` under ``key``; a dict's entries join those that are there."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[key] = {**results.get(key, {}), **value} if isinstance(value, dict) else value
    text = json.dumps(results, indent=1)
    # One line for a list of numbers.
    RESULTS.write_text(re.sub(r"\[[\d,\s]+\]", lambda match: "".join(match[0].split()), text) + "\n")


def main() -> None:
    if sys.argv[1:2] == ["probe"]:
        torch.set_num_threads(int(sys.argv[3]))
        torch.backends.mkldnn.set_flags(sys.argv[4] == "on")
        return probe(Path(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["deviations", "perturb", "reference", "platform"])
    parser.add_argument("models", nargs="*")
    parser.add_argument("--latents", type=int, help=f"deviations: {BATCH}, perturb: {LATENTS:,} if not given")
    parser.add_argument("--add", action="store_true", help="perturb: other latents, beside those that the row has")
    parser.add_argument("--batch", type=int, default=BATCH, help="perturb: latents at once")
    parser.add_argument("--prior", action="store_true")
    parser.add_argument("--one-thread", action="store_true", help="deviations: leave out the setting of two threads")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--note", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    paths = models()
    names = options.models or list(paths)
    if options.prior and set(names) - set(shipped_models()):
        parser.error("only models that ship have a prior worth drawing from: " + ", ".join(shipped_models()))
    kind = PRIOR if options.prior else ""
    if options.what == "deviations":
        update("models", paths)
        rows = deviations(names, options.latents or BATCH, options.prior, options.one_thread)
        update("deviations", {name + kind: row for name, row in rows.items()})
    elif options.what == "perturb":
        kept = json.loads(RESULTS.read_text())
        for name in names:
            units, before = kept["deviations"][name + kind]["units"], kept["perturbed"].get(name + kind)
            seed = 1 + (before["latents"] if options.add and before else 0)
            row = perturb(name, units, options.latents or LATENTS, options.prior, options.batch, seed)
            if options.add and before:
                row = joined(before, row)
            print(json.dumps({"model": name + kind, **row}), flush=True)
            update("perturbed", {name + kind: row})
    elif options.what == "reference":
        REFERENCE.write_text(json.dumps({name: digest(hyper_networks(name), None) for name in paths}, indent=1) + "\n")
    else:
        row = platform_row(options.threads, options.bf16, options.note)
        print(json.dumps(row))
        key = hashlib.sha256(json.dumps({k: row[k] for k in list(row)[:8]}, sort_keys=True).encode()).hexdigest()[:12]
        update("platforms", {key: row})
    return None


if __name__ == "__main__":
    main()
