"""Token mixers: how tokens of a map see their neighbours. All take and give (B, H, W, C)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.windows import WindowGrid, relative_index


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with relative position bias (Swin) and optional prompt tokens.

    Prompts are further keys and values only, with zero relative bias: either one set shared by all windows,
    (P, C), or a map at half the resolution, (B, ceil(H/2), ceil(W/2), C), whose tokens are visible where their region
    of the shifted map is (papers 000, 001, 002, 003).
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))

    def forward(self, x: Tensor, prompts: Tensor | None = None) -> Tensor:
        """x: normalised tokens (B, H, W, C)."""
        batch, height, width, channels = x.shape
        grid = WindowGrid(height, width, self.window, self.shift)
        windows = grid.partition(x)
        tokens = windows.shape[3]
        qkv = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).movedim((4, 5), (0, 4))
        q, k, v = qkv.unbind(0)  # each (B, rows, cols, heads, tokens, head dim)
        bias = self.relative_bias[relative_index(self.window).to(x.device)].permute(2, 0, 1)
        labels = grid.labels().to(x.device)
        key_labels = labels
        if prompts is not None:
            pk, pv, prompt_labels = self._prompt_keys(prompts, grid, q.shape)
            k, v = torch.cat([pk, k], dim=4), torch.cat([pv, v], dim=4)
            bias = F.pad(bias, (pk.shape[4], 0))
            key_labels = labels if prompt_labels is None else torch.cat([prompt_labels.to(x.device), labels], dim=2)
            if prompt_labels is None:
                key_labels = F.pad(labels, (pk.shape[4], 0), value=_SHARED)

        def attend(rows: slice, cols: slice, masked: bool) -> Tensor:
            parts = [t[:, rows, cols] for t in (q, k, v)]
            shape = parts[0].shape
            mask = bias.to(q.dtype)[None]
            if masked:
                seen = _visible(labels[rows, cols], key_labels[rows, cols])
                mask = mask.masked_fill(~seen.flatten(0, 1)[:, None], float("-inf"))
                mask = mask.expand(shape[0], *mask.shape).flatten(0, 1)
            out = F.scaled_dot_product_attention(*(t.flatten(0, 2) for t in parts), attn_mask=mask)
            return out.unflatten(0, shape[:3])

        # Only windows at the bottom and right need a mask: attend everywhere with the broadcast bias, then mend those.
        a, b = grid.clean_rows, grid.clean_cols
        everything = slice(None)
        if a == 0 or b == 0:
            out = attend(everything, everything, masked=True)
        else:
            out = attend(everything, everything, masked=False)
            if a < grid.rows:
                out[:, a:] = attend(slice(a, None), everything, masked=True)
            if b < grid.cols:
                out[:, :a, b:] = attend(slice(0, a), slice(b, None), masked=True)
        out = self.proj(out.transpose(3, 4).reshape(batch, grid.rows, grid.cols, tokens, channels))
        return grid.merge(out)

    def _prompt_keys(self, prompts: Tensor, grid: WindowGrid, shape: torch.Size) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values (B, rows, cols, heads, P, head dim) of the prompts, and their labels (None: seen by all)."""
        channels = self.proj.in_features
        kv = F.linear(prompts, self.qkv.weight[channels:], self.qkv.bias[channels:])
        if prompts.dim() == 2:
            k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(1, 2, 0, 3)
            return k.expand(*shape[:4], -1, -1), v.expand(*shape[:4], -1, -1), None
        half = WindowGrid(-(-grid.height // 2), -(-grid.width // 2), grid.window // 2, grid.shift // 2)
        kv = half.partition(kv).unflatten(-1, (2, self.heads, -1)).movedim((4, 5), (0, 4))
        return kv[0], kv[1], half.labels()


_SHARED = -2  # label of tokens that every query sees


def _visible(query: Tensor, key: Tensor) -> Tensor:
    """(…, queries) and (…, keys) labels to a boolean (…, queries, keys)."""
    return (query[..., :, None] == key[..., None, :]) | (key[..., None, :] == _SHARED)


class DepthwiseMixer(nn.Module):
    """Depthwise convolution: each channel sees a ``kernel`` x ``kernel`` neighbourhood of itself."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: normalised tokens (B, H, W, C)."""
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
