"""``promptcodec bench``: how fast a model runs here, phase by phase."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import options
from promptcodec.cli.streams import say, say_record

Picture = Annotated[Path, typer.Argument(help="The picture to encode.", show_default=False)]
Repeats = Annotated[int, typer.Option(min=1, help="Runs of each phase; the quickest counts.")]
ModelName = Annotated[str | None, typer.Option("--model", help="As for encode, or a preset (tic): random weights.")]


def command(
    picture: Picture,
    model: ModelName = None,
    threads: options.Threads = 0,
    repeats: Repeats = 5,
    precision: options.Precise = "float32",
    as_json: options.Json = False,
) -> None:
    """Time encoding and decoding by phase, and compare with this machine's convolution peak."""
    runtime.prepare(threads)
    from promptcodec.evaluate.cost.bench import bench, untrained
    from promptcodec.model.presets.registry import PRESETS
    from promptcodec.store.shipped import shipped_models

    random = model in PRESETS and model not in shipped_models()
    codec = untrained(str(model), precision) if random else runtime.codec(model, "cpu", precision)
    result = bench(codec, picture, repeats)
    if as_json:
        say_record("bench", "bench", asdict(result))
        return
    compiled = "compiled" if result.compiled else "not compiled (the extra fast brings that)"
    say(f"{result.model}{' (random weights)' if random else ''}, {result.width}x{result.height}, "
        f"{result.threads} threads, networks in {result.precision}, large maps' attention {compiled}; "
        f"convolution peak {result.peak_gflops:g} GFLOP/s")  # fmt: skip
    for phase in result.phases:
        share = "" if phase.share_of_peak is None else f"  {phase.gmac:7.2f} GMAC  {phase.share_of_peak:6.1%} of peak"
        say(f"  {phase.name:<15} {1000 * phase.seconds:8.1f} ms{share}")
    say(f"  encode {result.encode_s:.3f} s, decode {result.decode_s:.3f} s; {result.bytes} bytes")
    if result.peak_memory_mib is not None:
        say(f"  peak memory of this process {result.peak_memory_mib:g} MiB")
