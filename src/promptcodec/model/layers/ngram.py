"""N-gram context (paper 003; Choi et al., "N-Gram in Swin Transformers", CVPR 2023): windows see their neighbours.

A window becomes one vector (its uni-gram); sliding attention over N x N windows, forward and backward, gives every
window a context, which is added to all of its tokens before the windows are shifted.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model.layers.windows import relative_index

LARGEST_LOGIT_SCALE = math.log(100)


def initial_logit_scale(heads: int) -> Tensor:
    """Return (heads,): logarithms of the factors of a scaled-cosine attention, 10 at the start (Swin V2)."""
    return torch.full((heads,), math.log(10))


def cosine_scaled(q: Tensor, logit_scale: Tensor) -> Tensor:
    """Return q / |q| · exp(min(logit_scale, ln 100)), for q (…, heads, tokens, d) and one logit scale a head."""
    return F.normalize(q, dim=-1) * logit_scale.clamp(max=LARGEST_LOGIT_SCALE).exp()[:, None, None].to(q.dtype)


class NgramContext(nn.Module):
    """One vector a window, from the ``ngram`` x ``ngram`` windows after it and those before it."""

    def __init__(self, channels: int, heads: int, window: int, ngram: int) -> None:
        super().__init__()
        half = channels // 2
        if channels % 2 or half % heads:
            raise UsageError(f"N-gram context halves {channels} channels, which {heads} heads do not divide")
        self.window, self.attention = window, NgramAttention(half, heads, ngram)
        self.unigram = nn.Conv2d(channels, half, window, window, groups=half)
        self.merge = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, region: Tensor | None = None) -> Tensor:
        """Return the context of every token of x (B, H, W, C), same shape.

        ``region`` (B, 1, any height, any width) in [0, 1] says how much of it acts where; it is averaged over the
        area of a token. Maps that are no multiple of the window are padded with zeros, as the attention's are.
        """
        batch, height, width, _ = x.shape
        w = self.window
        padded = F.pad(x, (0, 0, 0, -width % w, 0, -height % w)).permute(0, 3, 1, 2)
        windows = self.merge(torch.cat(self.both_ways(self.unigram(padded)), 1))
        context: Tensor = (
            windows.permute(0, 2, 3, 1).repeat_interleave(w, 1).repeat_interleave(w, 2)[:, :height, :width]
        )
        if region is None:
            return context
        mask = F.adaptive_avg_pool2d(region.to(x.dtype), (height, width)).expand(batch, -1, -1, -1)
        return context * mask.permute(0, 2, 3, 1)

    def both_ways(self, unigrams: Tensor) -> tuple[Tensor, Tensor]:
        """Return forward and backward context, (B, C/2, rows, cols) as the uni-grams; the same weights for both."""
        count = self.attention.ngram - 1
        return self.attention(_reflected(unigrams, count, True)), self.attention(_reflected(unigrams, count, False))


class NgramAttention(nn.Module):
    """Scaled-cosine attention among every ``ngram`` x ``ngram`` neighbourhood, averaged over its tokens."""

    def __init__(self, channels: int, heads: int, ngram: int) -> None:
        super().__init__()
        self.heads, self.ngram = heads, ngram
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.logit_scale = nn.Parameter(initial_logit_scale(heads))
        self.relative_bias = nn.Parameter(torch.empty((2 * ngram - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_bias, std=0.02, a=-2, b=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, rows + N - 1, cols + N - 1) to (B, C, rows, cols)."""
        n = self.ngram
        # Projections are a token's own: project each once, then gather the neighbourhoods.
        qkv = self.qkv(x.permute(0, 2, 3, 1)).unfold(1, n, 1).unfold(2, n, 1)  # (B, rows, cols, 3C, N, N)
        q, k, v = qkv.flatten(4).unflatten(3, (3, self.heads, -1)).transpose(-1, -2).unbind(3)
        q, k = cosine_scaled(q, self.logit_scale), F.normalize(k, dim=-1)
        bias = self.relative_bias[relative_index(n, x.device)].permute(2, 0, 1).to(q.dtype)
        weights = torch.softmax(q @ k.transpose(-1, -2) + bias, -1)
        mean = (weights @ v).mean(-2).flatten(3)  # the projection is linear: average first
        return self.proj(mean).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def _reflected(x: Tensor, count: int, after: bool) -> Tensor:
    """Pad rows, then columns, by ``count`` copies mirrored at the last (or first) one; (B, C, rows, cols).

    The mirror repeats nothing of the edge itself. Where a map is too small to mirror, its edge is repeated: the
    reference cannot run there.
    """
    for axis in (2, 3):
        inside = x.shape[axis]
        offsets = torch.arange(1, count + 1, device=x.device).clamp(max=inside - 1)
        index = inside - 1 - offsets if after else offsets.flip(0)
        pad = x.index_select(axis, index)
        x = torch.cat([x, pad] if after else [pad, x], axis)
    return x
