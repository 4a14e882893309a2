"""Count the parameters and multiply-accumulates of every preset, which ``promptcodec models --all`` prints.

    python -m benchmarks.results.preset_costs

Counted by arithmetic for a picture of 512x768. To be run again where a preset changes; a test compares.
"""

from __future__ import annotations

import json
from typing import Any

from promptcodec.cli.models import PRESET_COSTS
from promptcodec.evaluate.cost.complexity import build, parts, total
from promptcodec.model.config import Model
from promptcodec.model.presets.registry import PRESETS

HEIGHT, WIDTH = 512, 768


def costs_of(cfg: Model) -> dict[str, Any]:
    """One row of the table."""
    counted = parts(build(cfg), HEIGHT, WIDTH)
    # The encoder runs hyper synthesis and context as well.
    encode, decode = (
        total(counted, *networks, "h_s", "context").macs.needed / 1e3 / HEIGHT / WIDTH
        for networks in (("g_a", "h_a"), ("g_s",))
    )
    return {
        "parameters": total(counted).parameters,
        "encode_kmac": round(encode, 3),
        "decode_kmac": round(decode, 3),
        "entropy_model": type(cfg.context).__name__ if cfg.context is not None else "hyperprior",
    }


def main() -> None:
    """Write the table into the package."""
    table = {name: costs_of(preset()) for name, preset in PRESETS.items()}
    PRESET_COSTS.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
