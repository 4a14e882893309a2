"""``promptcodec models``: the models and adapters inside the package, and the configurations that can be built."""

from __future__ import annotations

from typing import Annotated

import typer

from promptcodec.cli.options import Json
from promptcodec.cli.streams import say, say_json
from promptcodec.store.shipped import DEFAULT, shipped_models
from promptcodec.store.shipped_adapters import shipped_adapters

All = Annotated[bool, typer.Option("--all", help="Also configurations without weights, with their size and cost.")]


def command(everything: All = False, as_json: Json = False) -> None:
    """List the shipped models and adapters; with --all also what can be built and trained."""
    for name, metadata in shipped_models().items():
        fingerprint = metadata["fingerprint"]
        adapters = [a for a in shipped_adapters() if a.base_name == f"{metadata['name']} {metadata['version']}"]
        if as_json:
            say_json({"name": name, "version": metadata["version"], "fingerprint": fingerprint, "adapters": [
                {"name": a.name, "version": a.version, "fingerprint": a.fingerprint, "use": a.use} for a in adapters
            ]})  # fmt: skip
            continue
        say(f"{name} {metadata['version']}  {fingerprint}{'  (default)' if name == DEFAULT else ''}")
        for adapter in adapters:
            say(f"    {adapter.name} {adapter.version}  {adapter.fingerprint}  {adapter.use}")
    if everything:
        _presets(as_json)


def _presets(as_json: bool) -> None:
    from promptcodec.evaluate.cost.complexity import build, parts, total
    from promptcodec.model.presets.registry import PRESETS

    if not as_json:
        say()
        say(f"{'preset':24}{'parameters':>12}{'encode kMAC/px':>16}{'decode kMAC/px':>16}  entropy model")
    for name, preset in PRESETS.items():
        cfg = preset()
        found = parts(build(cfg), 512, 768)
        # The encoder runs hyper synthesis and context as well.
        encode, decode = (
            total(found, *networks, "h_s", "context").macs.needed / 1e3 / 512 / 768
            for networks in (("g_a", "h_a"), ("g_s",))
        )
        entropy = type(cfg.context).__name__ if cfg.context is not None else "hyperprior"
        if as_json:
            say_json({
                "preset": name, "parameters": total(found).parameters, "encode_kmac": round(encode, 3),
                "decode_kmac": round(decode, 3), "entropy_model": entropy,
            })  # fmt: skip
        else:
            say(f"{name:24}{total(found).parameters:12,}{encode:16.1f}{decode:16.1f}  {entropy}")
