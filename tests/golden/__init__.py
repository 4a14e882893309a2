"""Golden vectors: numbers computed with the authors' implementations. README.md beside this file tells of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from golden.reduced import read

HERE = Path(__file__).resolve().parent
COUNTS = "counts.json"


class Vectors:
    """The golden files of one folder, by name: the reduced ones beside this file, or the full ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> dict[str, Tensor]:
        """The tensors of a file: ``param/``, ``input/`` and ``output/``."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            return {key: torch.from_numpy(value) for key, value in read(self.folder / f"{name}.npz").items()}
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def counts(self) -> dict[str, dict]:
        """Parameters and multiply-accumulates of the full-size models, by the name of the model."""
        return {model["id"]: model for model in json.loads((self.folder / COUNTS).read_text())["models"]}


def folders(shared: Path) -> list[Path]:
    """Where golden vectors lie: the reduced ones always, the full ones where the test data folder has them."""
    full = shared / "golden"
    return [HERE, full] if full.is_dir() else [HERE]


def part(tensors: dict[str, Tensor], prefix: str, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    chosen = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in chosen.items()}


def sums(x: Tensor) -> Tensor:
    """The sum of n elements over sqrt(n), then with the i-th times cos(i): (2,) float64.

    No element can change, and no two change places, unseen. Rounding errors, which are independent, stay as they are;
    a single deviation is divided by sqrt(n), where a mean would divide it by n.
    """
    flat = x.double().flatten()
    weights = torch.stack([torch.ones_like(flat), torch.arange(len(flat), dtype=torch.float64).cos()])
    return weights @ flat / len(flat) ** 0.5


def thinned(x: Tensor, thinning: str) -> Tensor:
    """What is stored of a tensor under a suffix of its name, such as ``every5.each7``."""
    steps: dict[str, Callable[[Tensor, int], Tensor]] = {
        "every": lambda t, k: t[..., ::k, ::k],
        "rowmean": lambda t, _: t.double().mean(-1),
        "colmean": lambda t, _: t.double().mean(-2),
        "each": lambda t, k: t.flatten()[::k],
        "sums": lambda t, _: sums(t),
    }
    for name, number in re.findall(r"([a-z]+)(\d*)", thinning):
        x = steps[name](x, int(number or 0))
    return x


def pairs(actual: Tensor, golden: dict[str, Tensor], name: str) -> dict[str, tuple[Tensor, Tensor]]:
    """All that is stored of the tensor ``name``, by its key: the same of ``actual``, and the golden numbers."""
    pattern = re.compile(re.escape(name) + r"((?:\.(?:every\d+|rowmean|colmean))?(?:\.(?:each\d+|sums))?)")
    keys = {key: match[1] for key in golden if (match := pattern.fullmatch(key))}
    assert keys, f"no golden tensor {name}"
    return {key: (thinned(actual, suffix), golden[key]) for key, suffix in keys.items()}


def assert_matches(actual: Tensor, golden: dict[str, Tensor], name: str, tolerance: float) -> None:
    """Compare a full tensor with what is stored of it: itself, or samples, means and sums."""
    for key, (ours, theirs) in pairs(actual, golden, name).items():
        assert ours.shape == theirs.shape, key
        difference = (ours.double() - theirs.double()).abs().max().item()
        assert difference <= tolerance, f"{key}: {difference}"


def assert_close(actual: Tensor, golden: dict[str, Tensor], name: str, share: float) -> None:
    """Compare on average: the mean difference is below ``share`` of the golden numbers' standard deviation."""
    for key, (ours, theirs) in pairs(actual, golden, name).items():
        if not re.search(r"\.(rowmean|colmean|sums)\b", key):
            difference = (ours.double() - theirs.double()).abs().mean().item()
            assert difference < share * theirs.double().std().item(), f"{key}: {difference}"


def assert_output_matches(out: dict, golden: dict[str, Tensor], likelihoods: bool = True) -> None:
    """Compare a pass's picture, its likelihoods, and the bits of y and z."""
    assert_matches(out["x_hat"], golden, "x_hat", 1e-9)
    for key in ("y", "z"):
        if likelihoods:
            assert_matches(out["likelihoods"][key], golden, f"{key}_lik", 1e-11)
        bits = -out["likelihoods"][key].log2().sum().item()
        assert abs(bits - golden[f"{key}_bits"].item()) <= 1e-7
