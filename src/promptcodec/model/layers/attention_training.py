"""Window attention with gradients on CPUs, a few windows at a time, so that scores never leave the cache.

Torch's fused attention has no gradient for a trained bias on CPUs; what it falls back to writes the scores of all
windows to memory five times over. Here only each row's normaliser is kept, and backward computes the scores again
(Dao et al. 2022).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 128  # (window, head) pairs at once: their scores stay in the second-level cache


class CachedAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d) + bias) v; arguments as ``window_attention`` takes them.

    Products are in the precision of q, sums and exponentials in float32.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype)
        normaliser = torch.empty((*q.shape[:3], 1), dtype=torch.float32)
        added = bias.float()
        for part in _parts(q):
            queries, keys, values = (_chunk(t[part]) for t in (q, k, v))
            scores = _scores(queries, keys, added, part)
            top = scores.amax(-1, keepdim=True)
            weights = scores.sub_(top).exp_()
            total = weights.sum(-1, keepdim=True)
            out[part] = (torch.bmm(weights.to(values.dtype), values) / total).view(out[part].shape)
            normaliser[part] = (top + total.log()).view(normaliser[part].shape)
        ctx.save_for_backward(q, k, v, bias, normaliser)  # not the output: the caller may write into it
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, bias, normaliser = ctx.saved_tensors
        grads = tuple(torch.empty(t.shape, dtype=t.dtype) for t in (q, k, v))
        grad_bias = torch.zeros(bias.shape, dtype=torch.float32)
        scale, added = q.shape[-1] ** -0.5, bias.float()
        for part in _parts(q):
            queries, keys, values, grad_out = (_chunk(t[part]) for t in (q, k, v, grad))
            weights = _scores(queries, keys, added, part).sub_(normaliser[part].flatten(0, 1)).exp_()
            grad_values = torch.bmm(weights.to(grad_out.dtype).transpose(1, 2), grad_out)
            grad_scores = torch.bmm(grad_out, values.transpose(1, 2)).float().mul_(weights)
            grad_scores.sub_(weights.mul_(grad_scores.sum(-1, keepdim=True)))
            by_window = grad_scores.view(-1, *bias.shape[1:])
            if bias.shape[0] == 1:
                grad_bias += by_window.sum(0)
            else:
                grad_bias[part] = by_window
            scaled = grad_scores.mul_(scale).to(keys.dtype)
            grad_inputs = (torch.bmm(scaled, keys), torch.bmm(scaled.transpose(1, 2), queries))
            for target, value in zip(grads, (*grad_inputs, grad_values), strict=True):
                target[part] = value.view(target[part].shape)
        return *grads, grad_bias.to(bias.dtype)


def _parts(q: Tensor) -> Iterator[slice]:
    step = max(1, CHUNK // q.shape[1])
    return (slice(i, min(i + step, len(q))) for i in range(0, len(q), step))


def _chunk(tensor: Tensor) -> Tensor:
    """Return (w, heads, T, d) to (w * heads, T, d), contiguous."""
    return tensor.contiguous().flatten(0, 1)


def _scores(queries: Tensor, keys: Tensor, bias: Tensor, part: slice) -> Tensor:
    scores = torch.bmm(queries * queries.shape[-1] ** -0.5, keys.transpose(1, 2)).float()
    scores.view(-1, *bias.shape[1:]).add_(bias if bias.shape[0] == 1 else bias[part])
    return scores
