"""What every adapter costs beside its base: parameters, multiply-accumulates, and seconds of one encode and one decode.

python -m benchmarks.speed.steering_cost [--model tic] [--size 512x384] [--rounds 3]

All adapters, and the base without any, are timed in turn in every round, and the least counts, so that what else the
machine does hits all alike. Models and adapters have random weights unless --model names a shipped model: weights
change no count and, but for the entropy coder's few milliseconds, no time. Results go to
benchmarks/results/steering_cost.json and, as tables, into docs/steering/methods.md; every model keeps its own.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import promptcodec
from benchmarks.base_network import network_of
from benchmarks.marked import replace_marked
from promptcodec.codec.codec import Codec
from promptcodec.evaluate.cost.adapter_complexity import adapter_parts
from promptcodec.evaluate.cost.bench import convolution_peak, untrained
from promptcodec.evaluate.cost.complexity import parts, total
from promptcodec.model import config
from promptcodec.model.presets.registry import PRESETS
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter
from promptcodec.steer.methods.beta import Beta
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.pyramid import look, rate, rate_and_region, region
from promptcodec.steer.methods.region_gains import RegionGains
from promptcodec.steer.methods.sft import SFT
from promptcodec.steer.methods.transtic import TransTIC
from promptcodec.system.allocator import keep_large_blocks

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "steering_cost.json"
PAGE = ROOT / "docs" / "steering" / "methods.md"
SIDES = {"encoder": ("g_a", "h_a"), "decoder": ("h_s", "g_s")}

ADAPTERS: dict[str, Callable[[config.Model], list[Adapter]]] = {
    "none": lambda base: [],
    "look": lambda base: [look(base)],
    "look, decoder only": lambda base: [look(base, decoder_only=True)],
    "region": lambda base: [region(base)],
    "rate + region (kao)": lambda base: [rate_and_region(base)],
    "rate, region, look": lambda base: [rate(base), region(base), look(base)],
    "lpm": lambda base: [LPM(base)],
    "transtic": lambda base: [TransTIC(base)],
    "transtic, IP decoder": lambda base: [TransTIC(base, decoder="generated")],
    "sft": lambda base: [SFT(base)],
    "beta": lambda base: [Beta(base)],
    "beta, decoder only": lambda base: [Beta(base, encoder=False)],
    "gain-units": lambda base: [GainUnits(base)],
    "region-gains": lambda base: [RegionGains(base)],
    "channels": lambda base: [ChannelSelection(base)],
}


class Case:
    """A codec with adapters, and a picture's file made with them."""

    def __init__(self, codec: Codec, adapters: list[Adapter], rgb: np.ndarray) -> None:
        stored = [StoredAdapter(a.eval().requires_grad_(False), bytes([i] * 8)) for i, a in enumerate(adapters)]
        self.codec, self.adapters, self.rgb = codec, stored, rgb
        names = {name for a in adapters for name in (*a.signals, *getattr(a, "scalars", ()))}
        self.settings = dict.fromkeys(names, 0.5)
        self.roi = "40,40,200,160" if any("roi" in a.maps for a in adapters) else None
        self.data = self.encode()
        self.seconds = {"encode": float("inf"), "decode": float("inf")}

    def encode(self) -> bytes:
        return self.codec.encode(self.rgb, adapters=self.adapters, settings=self.settings, roi=self.roi)

    def decode(self) -> None:
        self.codec.decode_picture(self.data, adapters=self.adapters)

    def once(self) -> None:
        for name, call in (
            ("encode", self.encode),
            ("decode", lambda: self.codec.decode_picture(self.data, adapters=self.adapters)),
        ):
            start = time.perf_counter()
            call()
            self.seconds[name] = min(self.seconds[name], time.perf_counter() - start)


def count(codec: Codec, adapters: list[Adapter], height: int, width: int) -> dict[str, float]:
    """Parameters of the adapters, and kMAC a pixel with the base: as papers 002 counts them, and as computed here."""
    counted = parts(network_of(codec), height, width) + adapter_parts(adapters, height, width)
    figures: dict[str, float] = {"parameters": sum(p.numel() for a in adapters for p in a.parameters())}
    for side, networks in SIDES.items():
        macs = total(counted, *networks).macs
        figures[f"{side}_paper"] = round(macs.paper002 / 1e3 / height / width, 3)
        figures[f"{side}_true"] = round(macs.true / 1e3 / height / width, 3)
        figures[f"{side}_needed"] = round(macs.needed / 1e3 / height / width, 3)
    return figures


def measure(model: str, width: int, height: int, rounds: int) -> dict[str, Any]:
    """All adapters on one model."""
    torch.manual_seed(0)
    codec = untrained(model) if model in PRESETS and model != "nano" else promptcodec.load(model)
    base = network_of(codec).config
    rgb = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    rgb = rgb.repeat(8, 0).repeat(8, 1)
    adapters_by_name, refused = {}, {}
    for name, make in ADAPTERS.items():
        try:
            adapters_by_name[name] = make(base)
        except promptcodec.errors.UsageError as error:
            refused[name] = str(error)
    rows = {name: count(codec, adapters, height, width) for name, adapters in adapters_by_name.items()}
    cases = {name: Case(codec, adapters, rgb) for name, adapters in adapters_by_name.items()}
    for _ in range(rounds):
        for case in cases.values():
            case.once()
    for name, case in cases.items():
        rows[name] |= {f"{k}_s": round(v, 4) for k, v in case.seconds.items()}
        rows[name] |= {f"{k}_times": round(v / cases["none"].seconds[k], 3) for k, v in case.seconds.items()}
    return {"width": width, "height": height, "threads": torch.get_num_threads(), "rounds": rounds,
            "peak_gflops": round(convolution_peak(10), 1), "adapters": rows, "refused": refused}  # fmt: skip


def report(results: dict[str, Any]) -> str:
    """The tables of the page."""
    text = ""
    for model, run in results.items():
        base = run["adapters"]["none"]
        text += (
            f"On `{model}`, {run['width']}x{run['height']} pixels, {run['threads']} threads (float32 convolution "
            f"peak in this run {run['peak_gflops']} GFLOP/s). Without an adapter: encode {base['encode_s']:.3f} s, "
            f"decode {base['decode_s']:.3f} s.\n\n"
            "| adapter | parameters | encoder kMAC/px: paper 002's count | true | computed here | encode time "
            "| decoder kMAC/px: paper 002's count | true | computed here | decode time |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        )
        for name, row in run["adapters"].items():
            cells = [name, f"{row['parameters']:,}"]
            for side, verb in (("encoder", "encode"), ("decoder", "decode")):
                cells += [f"{row[f'{side}_{kind}']:.2f}" for kind in ("paper", "true", "needed")]
                cells.append(f"{row[f'{verb}_times']:.2f} x")
            text += "| " + " | ".join(cells) + " |\n"
        text += "\n"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tic")
    parser.add_argument("--size", default="512x384")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--report", action="store_true", help="only write the page again")
    args = parser.parse_args()
    keep_large_blocks()
    warnings.filterwarnings("ignore", message="a lossless PNG")  # of a made-up picture
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not args.report:
        width, height = map(int, args.size.split("x"))
        results[args.model] = measure(args.model, width, height, args.rounds)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = report(results)
    print(text)
    replace_marked(PAGE, "cost", text.rstrip("\n"))


if __name__ == "__main__":
    main()
