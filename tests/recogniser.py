"""A small frozen recogniser of VGG's kind, random, in files as recipes name them."""

from pathlib import Path

import torch
from safetensors.torch import save_file

FINE = (4, 8)  # channels of the levels at 1 and 1/2


def save_recogniser(folder: Path, coarse: int) -> dict[str, str]:
    """Paths of ``features`` and ``feature_heads``; ``coarse``: channels of the third level, at 1/4."""
    torch.manual_seed(0)
    sizes = {0: (3, 4), 2: (4, FINE[0]), 5: (FINE[0], 8), 7: (8, FINE[1]), 10: (FINE[1], coarse)}
    network = {f"features.{place}.weight": torch.randn(out, into, 3, 3) for place, (into, out) in sizes.items()}
    network |= {f"features.{place}.bias": torch.zeros(out) for place, (_, out) in sizes.items()}
    heads = {f"vgg.lin{i}": torch.rand(1, channels, 1, 1) for i, channels in enumerate((*FINE, coarse))}
    paths = {name: str(folder / f"{name}.safetensors") for name in ("features", "feature_heads")}
    save_file(network, paths["features"])
    save_file(heads, paths["feature_heads"])
    return paths
