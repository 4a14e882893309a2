"""Softmax attention over windows with an additive bias."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.model.layers.attention_training import CHUNK, CachedAttention


def window_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d) + bias) v.

    q (W, heads, T, d), k and v (W, heads, K, d), bias (1 or W, heads, T, K). Returns (W, heads, T, d).

    Torch's fused attention everywhere but on CPUs: there windows are so small that its cost is overhead, and plain
    products over a few windows that stay in cache take half its time.
    """
    learning = torch.is_grad_enabled() and (bias.requires_grad or q.requires_grad or k.requires_grad)
    if q.device.type == "cpu" and learning and q.dtype in (torch.float32, torch.bfloat16):
        return CachedAttention.apply(q, k, v, bias)  # type: ignore[no-any-return]
    if q.device.type != "cpu" or torch.is_grad_enabled() or q.dtype == torch.bfloat16:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    windows, heads, tokens, width = q.shape
    keys = k.shape[2]
    out = torch.empty(windows, heads, tokens, width, dtype=q.dtype)
    step = max(1, CHUNK // heads)
    shared = bias.expand(min(step, windows), -1, -1, -1).flatten(0, 1) if bias.shape[0] == 1 else None
    for i in range(0, windows, step):
        part = slice(i, min(i + step, windows))
        count = (part.stop - part.start) * heads
        added = shared[:count] if shared is not None else bias[part].flatten(0, 1)
        queries, keyed = q[part].reshape(count, tokens, width), k[part].reshape(count, keys, width)
        scores = torch.baddbmm(added, queries, keyed.transpose(1, 2), alpha=width**-0.5)
        weights = torch.softmax(scores, dim=-1)
        torch.bmm(weights, v[part].reshape(count, keys, width), out=out[part].view(count, tokens, width))
    return out
