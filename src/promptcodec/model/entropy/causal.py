"""Causal attention context of TIC (Lu et al., DCC 2022): every latent from the 12 decoded ones around it.

The reference decodes in raster order, one position a step. Position (i, j) needs only columns up to j + 2 of the rows
above, so all positions with the same j + 3 i can be decoded together: w + 3 (h - 1) steps instead of h · w, with the
same values. Queries, keys and values of a decoded latent are computed once, when it is decoded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.entropy.schedule import Schedule, Step
from promptcodec.model.layers.pointwise import FeedForward, linear
from promptcodec.model.layers.windows import relative_index


class CausalContext(nn.Module):
    """Attention among the window around a position, whose undecoded half is zero, and the net that gives parameters."""

    def __init__(self, channels: int, hyper: int, cfg: config.CausalAttention) -> None:
        super().__init__()
        if cfg.window % 2 == 0 or channels % cfg.heads:
            raise UsageError(f"causal attention wants an odd window and heads that divide {channels} channels")
        self.heads, self.window, self.reach = cfg.heads, cfg.window, cfg.window // 2
        self.before = cfg.window**2 // 2  # tokens that precede the centre in raster order
        self.norm1 = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.relative_bias = nn.Parameter(torch.zeros((2 * cfg.window - 1) ** 2, cfg.heads))
        self.norm2 = nn.LayerNorm(channels)
        self.ffn = FeedForward(channels, cfg.ratio)
        self.proj = nn.Linear(channels, 2 * channels)
        joined = hyper + 2 * channels
        widths = (joined, joined * 5 // 6, joined * 2 // 3, 2 * channels)
        self.parameters_net = nn.Sequential(
            nn.Linear(widths[0], widths[1]), nn.GELU(), nn.Linear(widths[1], widths[2]), nn.GELU(),
            nn.Linear(widths[2], widths[3]),
        )  # fmt: skip

    def steps(self, hyper: Tensor) -> Schedule:
        """Yield the steps for hyper features (B, C, h, w), a wavefront each; scales as the network gives them."""
        height, width = hyper.shape[2:]
        cache = self._cache(hyper.new_zeros(hyper.shape[0], self.norm1.normalized_shape[0], height, width))
        features, slope = hyper.permute(0, 2, 3, 1), self.reach + 1
        for front in range(width + slope * (height - 1)):
            first = max(0, -(-(front - width + 1) // slope))
            rows = torch.arange(first, min(height - 1, front // slope) + 1, device=hyper.device)
            cols = front - slope * rows
            scale, mean = self._joined(features[:, rows, cols], self._context(*cache, rows, cols))
            where = (slice(None), slice(0, mean.shape[1]), rows, cols)
            y_hat = yield Step(where, scale, mean)
            tokens = y_hat[where].transpose(1, 2).to(hyper.dtype)
            if torch.is_grad_enabled():  # earlier steps' gradients need what they saw
                cache = (cache[0].clone(), cache[1].clone())
            for store, values in zip(cache, (tokens, self._project(tokens)), strict=True):
                store[:, rows + self.reach, cols + self.reach] = values

    def in_one_pass(self, hyper: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales and means (B, M, h, w) in one pass, where all of y (B, M, h, w) is known.

        In training with noise.
        """
        batch, _, height, width = y.shape
        features = hyper.permute(0, 2, 3, 1).flatten(1, 2)
        scale, mean = self._joined(features, self.context(y))
        return scale.view(batch, -1, height, width), mean.view(batch, -1, height, width)

    def context(self, y: Tensor) -> Tensor:
        """Return the context of all positions of y (B, M, h, w) in raster order, (B, h·w, 2M)."""
        height, width = y.shape[2:]
        rows = torch.arange(height, device=y.device).repeat_interleave(width)
        cols = torch.arange(width, device=y.device).repeat(height)
        return self._context(*self._cache(y), rows, cols)

    def _cache(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (B, rows, cols, M) and their queries, keys and values (B, rows, cols, 3M), zeros padded
        around y.
        """
        tokens = F.pad(y.permute(0, 2, 3, 1), (0, 0, *(self.reach,) * 4))
        return tokens, self._project(tokens)

    def _project(self, tokens: Tensor) -> Tensor:
        return linear(self.norm1(tokens), self.qkv)

    def _context(self, tokens: Tensor, projected: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Return the context of n positions, (B, n, 2M).

        Tokens from the centre on count as zero: after the norm they are its bias, and still take part. The sum over the
        window's queries is taken of the attention weights, before these meet the values.
        """
        offset = torch.arange(self.before, device=rows.device)
        dy, dx = offset // self.window, offset % self.window
        near_rows, near_cols = rows[:, None] + dy, cols[:, None] + dx
        around = projected[:, near_rows, near_cols]
        rest = self._project(torch.zeros_like(tokens[:1, 0, 0]))
        rest = rest.expand(*around.shape[:2], self.window**2 - self.before, -1)
        q, k, v = torch.cat([around, rest], 2).unflatten(-1, (3, self.heads, -1)).movedim((3, 4), (0, 3)).unbind(0)
        bias = self.relative_bias[relative_index(self.window, rows.device)].permute(2, 0, 1)
        weights = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias, -1).sum(-2, keepdim=True)
        x = (weights @ v).flatten(2) + tokens[:, near_rows, near_cols].sum(2)
        return linear(x + self.ffn(self.norm2(x)), self.proj)

    def _joined(self, hyper: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales and means (B, M, n) of hyper features (B, n, C) and context (B, n, 2M)."""
        parameters: Tensor = self.parameters_net(torch.cat([hyper, context], -1))
        scale, mean = parameters.transpose(1, 2).chunk(2, 1)
        return scale, mean
