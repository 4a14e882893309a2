"""``promptcodec models``: the models and adapters inside the package, and the configurations that can be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from promptcodec.cli.options import Json
from promptcodec.cli.streams import say, say_record
from promptcodec.store.shipped import DEFAULT, shipped_models
from promptcodec.store.shipped_adapters import shipped_adapters

PRESET_COSTS = Path(__file__).parents[1] / "model" / "preset_costs.json"  # by benchmarks/results/preset_costs.py

All = Annotated[bool, typer.Option("--all", help="Also configurations without weights, with their size and cost.")]


def command(everything: All = False, as_json: Json = False) -> None:
    """List the shipped models and adapters; with --all also what can be built and trained."""
    for name, metadata in shipped_models().items():
        fingerprint = metadata["fingerprint"]
        adapters = [a for a in shipped_adapters() if a.base_name == f"{metadata['name']} {metadata['version']}"]
        if as_json:
            described = [
                {"name": a.name, "version": a.version, "fingerprint": a.fingerprint, "use": a.use} for a in adapters
            ]
            facts = {"name": name, "version": metadata["version"], "fingerprint": fingerprint, "adapters": described}
            say_record("models", "model", facts)
            continue
        say(f"{name} {metadata['version']}  {fingerprint}{'  (default)' if name == DEFAULT else ''}")
        for adapter in adapters:
            say(f"    {adapter.name} {adapter.version}  {adapter.fingerprint}  {adapter.use}")
    if everything:
        _presets(as_json)


def _presets(as_json: bool) -> None:
    costs: dict[str, dict[str, Any]] = json.loads(PRESET_COSTS.read_text("utf-8"))
    if not as_json:
        say()
        say(f"{'preset':24}{'parameters':>12}{'encode kMAC/px':>16}{'decode kMAC/px':>16}  entropy model")
    for name, cost in costs.items():
        if as_json:
            say_record("models", "preset", {"preset": name} | cost)
        else:
            columns = f"{cost['parameters']:12,}{cost['encode_kmac']:16.1f}{cost['decode_kmac']:16.1f}"
            say(f"{name:24}{columns}  {cost['entropy_model']}")
