"""The weighted mean of adapters of one kind on one base, such as stages of training for different metrics.

python training/average.py runs/nano-look-lpips/adapter.safetensors 0.65 runs/nano-look-vgg/adapter.safetensors 0.35
    -o runs/nano-look-mean/adapter.safetensors [--base nano]

Meant for runs that began with each other's weights; between strangers a mean is no good adapter.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import promptcodec
from promptcodec.errors import UsageError
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import load_adapter, save_adapter


def averaged(adapters: list[tuple[Adapter, float]]) -> Adapter:
    """The first one with the weighted mean of all weights. Raises UsageError where they are not of one kind."""
    first, total = adapters[0][0], sum(weight for _, weight in adapters)
    for other, _ in adapters[1:]:
        if (other.kind, other.options) != (first.kind, first.options):
            raise UsageError(f"{other.kind} {other.options} is not what {first.kind} {first.options} is: no mean")
    states = [(adapter.state_dict(), weight / total) for adapter, weight in adapters]
    first.load_state_dict({name: sum(weight * state[name] for state, weight in states) for name in states[0][0]})
    return first


def main() -> None:
    """Read, average, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="ADAPTER WEIGHT", help="files, each followed by its weight")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--base", default="nano")
    options = parser.parse_args()
    if len(options.pairs) % 2:
        parser.error("give a weight after each file")
    network = promptcodec.load(options.base).backend.network
    paths, weights = options.pairs[::2], [float(weight) for weight in options.pairs[1::2]]
    stored = [load_adapter(path, network) for path in paths]
    if len({each.base_lambda for each in stored}) > 1:
        parser.error("these adapters were trained at different rates of the base")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    pairs = [(each.adapter, weight) for each, weight in zip(stored, weights, strict=True)]
    save_adapter(averaged(pairs), network, options.output, stored[0].base_lambda)


if __name__ == "__main__":
    main()
