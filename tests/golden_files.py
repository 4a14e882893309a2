"""Read files of golden vectors and compare with them; their layout is described beside them."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor


def load(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


def part(tensors: dict[str, Tensor], prefix: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in found.items()}


def assert_matches(found: Tensor, golden: dict[str, Tensor], name: str, tolerance: float) -> None:
    """Compare a full tensor with what is stored of it: itself, or samples and means."""
    compared = 0
    for key, expected in golden.items():
        stem, _, thinning = key.partition(".")
        if stem != name:
            continue
        if thinning.startswith("every"):
            step = int(thinning.removeprefix("every"))
            actual = found[..., ::step, ::step]
        else:
            actual = {"": lambda t: t, "rowmean": lambda t: t.mean(-1), "colmean": lambda t: t.mean(-2)}[thinning](
                found
            )
        assert actual.shape == expected.shape
        difference = (actual.double() - expected.double()).abs().max().item()
        assert difference <= tolerance, f"{key}: {difference}"
        compared += 1
    assert compared, f"no golden tensor {name}"
