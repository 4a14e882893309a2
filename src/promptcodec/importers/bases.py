"""Read checkpoints of the papers' own code: names of TIC, its descendants, and CompressAI's ELIC mapped to ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from promptcodec.errors import UsageError

Rule = tuple[str, str | Callable[[re.Match[str]], str]]

_RULES: tuple[Rule, ...] = (
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
    (r"^context_prediction\.relative_position_bias_table$", "context.relative_bias"),
    (r"^context_prediction\.", "context."),
    (r"^entropy_parameters\.", "context.parameters_net."),
)
# CompressAI's ELIC; its layers are counted one by one, ours with their bottlenecks in one.
_ELIC_LAYERS = {
    "g_a": ("0", "1.0", "1.1", "1.2", "2", "3.0", "3.1", "3.2", "4", "5", "6.0", "6.1", "6.2", "7", "8"),
    "g_s": ("0", "1", "2.0", "2.1", "2.2", "3", "4", "5.0", "5.1", "5.2", "6", "7.0", "7.1", "7.2", "8"),
}
_ELIC_RULES: tuple[Rule, ...] = (
    (r"^latent_codec\.hyper\.(h_a|h_s)\.(\d+)\.", r"\1.layers.\2."),
    (r"^latent_codec\.hyper\.", ""),
    (r"^latent_codec\.y\.channel_context\.y(\d)\.", lambda m: f"context.channel.{int(m[1]) - 1}."),
    (r"^latent_codec\.y\.latent_codec\.y(\d)\.context_prediction\.", r"context.spatial.\1."),
    (r"^latent_codec\.y\.latent_codec\.y(\d)\.entropy_parameters\.", r"context.aggregation.\1."),
    (r"^(g_a|g_s)\.(\d+)\.", lambda m: f"{m[1]}.layers.{_ELIC_LAYERS[m[1]][int(m[2])]}."),
    (r"\.conv_a\.(\d)\.conv\.", r".trunk.\1."),
    (r"\.conv_b\.(\d)\.conv\.", r".mask.\1."),
    (r"\.conv_b\.3\.", ".mask.3."),
    (r"\.conv([123])\.", lambda m: f".{2 * int(m[1]) - 2}."),
)
_DERIVED = re.compile(
    r"relative_position_index|attn_mask|_quantized_cdf|_cdf_length|_offset|scale_table|bound|target|\.mask$"
)


def from_reference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of a TIC or ELIC checkpoint under our names; buffers that can be derived are left out.

    Raises UsageError for parameters that these models do not have.
    """
    elic = any("latent_codec." in key for key in state)
    rules = _ELIC_RULES + _RULES if elic else _RULES
    ours = {}
    for key, value in state.items():
        if _DERIVED.search(key):
            continue
        name = key.removeprefix("module.")
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        if not name.startswith(("g_a.", "g_s.", "h_a.", "h_s.", "prior.", "context.")):
            raise UsageError(f"checkpoint parameter {key!r} belongs to no layer of TIC or ELIC")
        pointwise = name.startswith(("context.aggregation.", "context.parameters_net.")) and value.dim() == 4
        ours[name] = value[:, :, 0, 0] if pointwise else value  # 1x1 convolutions that are linear layers here
    return ours
