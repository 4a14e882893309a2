"""Read checkpoints of Song et al. (ICCV 2021) under our names: a CNN base, and the transforms that steer it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from promptcodec.errors import UsageError

_SITES = {  # official layer of a feature transform to ours: stage, and place in it
    "g_a": {2: (0, 0), 5: (1, 0), 8: (2, 0), 11: (3, 0), 13: (4, 0), 14: (4, 1)},
    "h_a": {1: (0, 0), 4: (1, 0), 7: (2, 0), 8: (2, 1)},
    "g_s": {0: (0, 0), 1: (0, 1), 4: (1, 0), 7: (2, 0), 10: (3, 0), 13: (4, 0)},
}
_PARTS = (
    ("mlp_shared.0.", "shared."),
    ("mlp_gamma.", "scale."),
    ("mlp_beta.", "shift."),
    ("norm_", "sft."),
    ("conv_", "conv."),
)
_NETS = {"g": "analysis", "h": "hyper", "gs": "synthesis"}
_DERIVED = re.compile(r"_quantized_cdf|_cdf_length|_offset|scale_table|bound|target|pedestal")


def from_song(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the parameters of the base (preset ``song``) and of ``QualityMap``.

    Raises UsageError for what is neither's.
    """
    base: dict[str, Tensor] = {}
    adapter: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if _DERIVED.search(name):
            continue
        layer = re.match(r"^(g_a|h_a|g_s)(\d+)\.(.*)$", name)
        prior = re.match(r"^entropy_bottleneck\._?(matrices|biases|factors)\.(\d)$", name)
        net = re.match(r"^qmap_feature_(gs|g|h)(\d)\.(.*)$", name)
        if layer and int(layer[2]) in _SITES[layer[1]]:
            stage, place = _SITES[layer[1]][int(layer[2])]
            rest = layer[3]
            for theirs, ours in _PARTS:
                rest = rest.replace(theirs, ours)
            adapter[f"transforms.{layer[1]}.{stage}.{place}.{rest}"] = value
        elif layer:  # in g_s two blocks stand at one site of ours
            base[f"{layer[1]}.layers.{int(layer[2]) - (layer[1] == 'g_s')}.{layer[3]}"] = value
        elif net:
            adapter[_net(net[1], int(net[2]), net[3])] = value
        elif prior:
            base[f"prior.{prior[1]}.{prior[2]}"] = value
        elif name == "entropy_bottleneck.quantiles":
            base["prior.quantiles"] = value
        elif name.startswith("h_s."):
            base[name.replace("h_s.", "h_s.layers.", 1)] = value
        else:
            raise UsageError(f"checkpoint parameter {key!r} belongs to no layer of Song et al.'s codec")
    return base, adapter


def _net(kind: str, number: int, rest: str) -> str:
    """Return our name in a condition net: the first three convolutions, one step a stage, and the features of ẑ."""
    if number == 0:
        return f"from_z.{rest}"
    return f"{_NETS[kind]}.first.{rest}" if number == 1 else f"{_NETS[kind]}.steps.{number - 1}.{rest}"
