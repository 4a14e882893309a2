"""Keep a run's weights as what they differ by from a model that ships: a few bits a weight, small enough to commit.

    python training/weight_delta.py pack runs/small/model.safetensors -o training/trunk.delta [--base small]
    python training/weight_delta.py unpack training/trunk.delta -o runs/trunk.safetensors [--base small]

A trunk runs for months, its folder may be lost, and a model file of each of its days would swell the history. The
differences of large tensors are rounded to ``STEP`` of their root mean square and packed by LZMA; small tensors, gains
and biases among them, are kept as they are. Weights wander much further than they improve, so coarse steps lose more
than the run has gained: steps of 0.6 cost ``small`` 0.2 to 0.4 dB. The unpacked file starts a run:
`promptcodec train RECIPE --with start='"FILE"'`.
"""

from __future__ import annotations

import argparse
import lzma
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.store.model_file import StoredModel, load_model, save_model
from promptcodec.store.shipped import find_model
from promptcodec.system.atomic import atomic_write

STEP = 0.1  # of the root mean square of a tensor's differences
LARGE = 4096  # values from which a tensor is rounded
STEPS, KEPT, SCALES, BASE = "steps.", "kept.", "scales", "base"  # names in the file
LARGEST = 127


def pack(model: StoredModel, base: StoredModel) -> bytes:
    """Return how the weights of ``model`` differ from those of ``base``. Raises UsageError for another architecture."""
    old, new = _weights(base.network), _weights(model.network)
    if {name: tensor.shape for name, tensor in old.items()} != {name: tensor.shape for name, tensor in new.items()}:
        raise UsageError(f"these are not weights of {base.network.config.name}: other names or shapes")
    steps, scales = dict[str, Tensor](), list[Tensor]()
    kept = {KEPT + name: value.half().contiguous() for name, value in new.items() if value.numel() < LARGE}
    for name in sorted(name for name, value in new.items() if value.numel() >= LARGE):
        difference = new[name].double() - old[name].double()
        # Where a few values stand far out, steps are wider, so that int8 holds all of them.
        scale = torch.maximum(STEP * difference.square().mean().sqrt(), difference.abs().amax() / LARGEST)
        steps[STEPS + name] = (difference / scale.clamp_min(1e-30)).round().to(torch.int8).contiguous()
        scales.append(scale)
    fingerprint = torch.frombuffer(bytearray(base.fingerprint.encode()), dtype=torch.uint8)
    return lzma.compress(save(steps | kept | {SCALES: torch.stack(scales).float(), BASE: fingerprint}), preset=9)


def unpack(packed: bytes, base: StoredModel) -> CompressionModel:
    """Return ``base``'s network with the weights that ``pack`` saw. Raises UsageError for another base, or no delta."""
    try:
        tensors = load(lzma.decompress(packed))
    except (lzma.LZMAError, EOFError, SafetensorError) as error:
        raise UsageError(f"this is nothing that weight_delta.py has packed, or it is cut off: {error}") from None
    fingerprint = bytes(tensors.pop(BASE).tolist()).decode()
    if fingerprint != base.fingerprint:
        raise UsageError(f"the differences are to the model {fingerprint}, but {base.fingerprint} is here")
    scales = tensors.pop(SCALES)
    weights = base.network.state_dict()
    for name in [name for name in tensors if name.startswith(KEPT)]:
        weights[name.removeprefix(KEPT)].copy_(tensors.pop(name))
    for scale, name in zip(scales.double(), sorted(tensors), strict=True):
        target = weights[name.removeprefix(STEPS)]
        target.copy_((target.double() + scale * tensors[name].double()).to(target.dtype))
    return base.network


def _weights(network: CompressionModel) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}


def main() -> None:
    """Read, pack or unpack, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["pack", "unpack"])
    parser.add_argument("file", type=Path, help="a model file, or what pack wrote")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--base", default="small", help="the model that ships")
    options = parser.parse_args()
    base = load_model(find_model(options.base))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    if options.verb == "pack":
        with atomic_write(options.output, overwrite=True) as file:
            file.write(pack(load_model(options.file), base))
    else:
        save_model(unpack(options.file.read_bytes(), base), options.output, "unpacked")
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
