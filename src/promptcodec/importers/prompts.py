"""Read the prompts in checkpoints of TransTIC (paper 002) and of Kao et al. 2023 under our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_HALVES = {"g_a": "encoder", "g_s": "decoder"}
_PROMPT = re.compile(r"^(g_a|g_s)(\d+)_prompt(_layers)?\.(.*)$")
_TOKENS = re.compile(r"^g_s(\d+)\.residual_group\.prompt_embeddings$")


def split_prompts(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a checkpoint's base parameters as they are, and those of its prompts under the names of our adapters.

    The names fit ``TransTIC`` and ``Pyramid``; counters of batch norms that a checkpoint lacks start at zero.
    """
    base: dict[str, Tensor] = {}
    prompts: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        ours = _ours(name)
        if ours is None:
            base[name] = value
            continue
        prompts[ours] = value
        if ours.endswith("running_mean"):
            prompts.setdefault(ours.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return base, prompts


def _ours(name: str) -> str | None:
    """Return our name of a prompt parameter; None for others."""
    tokens = _TOKENS.match(name)
    if tokens:
        return f"decoder.tokens.{int(tokens[1]) // 2}"
    match = _PROMPT.match(name)
    if not match:
        return None
    transform, layer, heads, rest = match.groups()
    rest = rest.replace("classifier.0.", "head.")  # the last layer of TransTIC's extractor
    return f"{_HALVES[transform]}.{'heads' if heads else 'trunk'}.{int(layer) // 2}.{rest}"
