"""Read checkpoints of the papers' own code: parameter names of TIC_hp and its descendants mapped to ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from promptcodec.errors import UsageError

_RULES = (
    (r"^(g_a|g_s|h_a|h_s)(\d+)\.(weight|bias)$", r"\1.layers.\2.\3"),
    (r"^(g_a|g_s|h_a|h_s)(\d+)\.residual_group\.blocks\.(\d+)\.", r"\1.layers.\2.blocks.\3."),
    (r"\.attn\.relative_position_bias_table$", ".mixer.relative_bias"),
    (r"\.attn\.(qkv|proj)\.", r".mixer.\1."),
    (r"\.mlp\.fc1\.", ".ffn.0."),
    (r"\.mlp\.fc2\.", ".ffn.2."),
    (r"^entropy_bottleneck\.(?:_matrix|matrices\.)(\d)$", r"prior.matrices.\1"),
    (r"^entropy_bottleneck\.(?:_bias|biases\.)(\d)$", r"prior.biases.\1"),
    (r"^entropy_bottleneck\.(?:_factor|factors\.)(\d)$", r"prior.factors.\1"),
    (r"^entropy_bottleneck\.quantiles$", "prior.quantiles"),
)
_DERIVED = re.compile(r"relative_position_index|attn_mask|_quantized_cdf|_cdf_length|_offset|scale_table|bound|target")


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters of a TIC_hp checkpoint under our names; buffers that can be derived are left out.

    Raises UsageError for parameters that a hyperprior TIC does not have.
    """
    ours = {}
    for key, value in state.items():
        if _DERIVED.search(key):
            continue
        name = key.removeprefix("module.")
        for pattern, replacement in _RULES:
            name = re.sub(pattern, replacement, name)
        if not name.startswith(("g_a.", "g_s.", "h_a.", "h_s.", "prior.")):
            raise UsageError(f"checkpoint parameter {key!r} belongs to no layer of a hyperprior TIC")
        ours[name] = value
    return ours
