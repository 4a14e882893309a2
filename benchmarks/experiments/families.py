"""Families of adapters that steering_effect.py trains and measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HELD = {"base_lambda": 0.0067}


@dataclass(frozen=True)
class Family:
    """A recipe with changes, and the metric that its adapter is trained for."""

    metric: str
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0  # the seconds of --seconds: what learns slowly gets more
    fits_nano: bool = True  # else measured only where it is named, with another base


def lpips_look(adapter: dict[str, Any]) -> Family:
    """For LPIPS of AlexNet, the cheapest."""
    return Family("lpips", "look-lpips", {"adapter": adapter})


PROMPTS = {"kind": "pyramid", "name": "look", "scalars": ["look"]}
SFT = {"kind": "sft", "name": "sft", "scalars": ["look"]}
BETA = {"kind": "beta", "name": "beta", "scalar": "look"}
DECODER = {"encoder": False}
FAMILIES = {
    "region": Family("roi-psnr", "region", {"learning_rate": 3e-4}, times=4),
    "region-gains": Family("roi-psnr", "nano-region-gains", {"learning_rate": 1e-2}),
    "region-sft": Family(
        "roi-psnr",
        "region",
        {"adapter": SFT | {"scalars": [], "maps": ["roi"], "decoder": False, "residual": False}}
        | {"patch": 128, "batch": 8, "learning_rate": 3e-4},
        times=8,
    ),
    # Kao et al.'s prompts of rate and region together; the published training moves the base as well.
    "kao": Family(
        "cost",
        "region",
        HELD
        | {"adapter": {"kind": "pyramid", "name": "kao", "scalars": ["rate"], "maps": ["roi"]}}
        | {"objective": "region", "rates": [0.0, 1.0], "patch": 128, "batch": 8, "learning_rate": 5e-4},
        times=6.5,
    ),
    "look-ms-ssim": Family("ms-ssim", "look-ms-ssim", {"learning_rate": 3e-4}, times=3),
    "look-lpips": lpips_look(PROMPTS),
    "look-lpips-decoder": lpips_look(PROMPTS | DECODER),
    "rate-prompts": Family("psnr", "rate-prompts", times=4),
    "lpm": Family("cost", "lpm", HELD | {"fixed_lambda": 0.0018}),
    # 190: AlexNet's distance weighs as much as the base's own error. With paper 002's 1000 it asks for more bits.
    "transtic": Family(
        "features", "transtic", {"fixed_lambda": 0.0, "machine_weight": 190.0, "patch": 128, "batch": 8}, times=6
    ),
    # Paper 002's variant A3.2; the base must have decoder stages below the first that take prompts.
    "transtic-features": Family(
        "features",
        "transtic",
        {"fixed_lambda": 0.0, "machine_weight": 190.0, "patch": 128, "batch": 8, "learning_rate": 2e-4}
        | {"adapter": {"kind": "transtic", "decoder": "generated"}},
        times=6,
        fits_nano=False,
    ),
    "sft": lpips_look(SFT),
    "beta": lpips_look(BETA),
    "gain-units": Family("cost", "gain-units", HELD | {"rates": [0.0, 1.0], "learning_rate": 2e-2}),
    "channels": Family(
        "features", "transtic-channels", {"fixed_lambda": 0.0, "adapter": {"kind": "channels"}, "learning_rate": 1e-3}
    ),
    "look-ms-ssim-decoder": Family("ms-ssim", "look-ms-ssim", {"adapter": PROMPTS | DECODER}),
    "sft-decoder": lpips_look(SFT | DECODER),
    "beta-decoder": lpips_look(BETA | DECODER),
    "code-editing": Family("cost", "", {"fixed_lambda": 0.0018} | HELD),
}
