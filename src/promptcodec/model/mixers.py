"""Token mixers: how tokens of a map see their neighbours. All take and give (B, H, W, C)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.attention import window_attention
from promptcodec.model.linear import linear
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
        grid = self.grid(x)
        return grid.merge(self.attend(grid.partition(x), grid, self.prompt_keys(prompts, grid)))

    def grid(self, x: Tensor) -> WindowGrid:
        """The windows of a map (B, H, W, C)."""
        return WindowGrid(x.shape[1], x.shape[2], self.window, self.shift)

    def attend(self, windows: Tensor, grid: WindowGrid, prompts: PromptKeys | None, row: int | None = None) -> Tensor:
        """Attention inside windows (B, rows, cols, tokens, C): all of the grid's rows, or only the row ``row``."""
        batch, rows, cols, tokens, channels = windows.shape
        rows_of_grid = slice(None) if row is None else slice(row, row + 1)
        qkv = linear(windows, self.qkv).unflatten(-1, (3, self.heads, -1)).movedim((4, 5), (0, 4))
        q, k, v = qkv.unbind(0)  # each (B, rows, cols, heads, tokens, head dim)
        bias = self.relative_bias[relative_index(self.window, windows.device)].permute(2, 0, 1)[None].to(q.dtype)
        labels = grid.labels(windows.device)[rows_of_grid]
        key_labels = labels
        if prompts is not None:
            count = prompts.key.shape[4]
            expand = (batch, rows, cols, -1, -1, -1)
            k = torch.cat([_rows(prompts.key, rows_of_grid).expand(expand), k], dim=4)
            v = torch.cat([_rows(prompts.value, rows_of_grid).expand(expand), v], dim=4)
            bias = F.pad(bias, (count, 0))
            if prompts.labels is None:
                key_labels = F.pad(labels, (count, 0), value=_SHARED)
            else:
                key_labels = torch.cat([prompts.labels[rows_of_grid], labels], dim=2)

        def part(inside: slice, across: slice, masked: bool) -> Tensor:
            query, key, value = (t[:, inside, across] for t in (q, k, v))
            mask = bias
            if masked:
                seen = _visible(labels[inside, across], key_labels[inside, across]).flatten(0, 1)[:, None]
                mask = bias.masked_fill(~seen, float("-inf")).repeat(batch, 1, 1, 1)
            out = window_attention(query.flatten(0, 2), key.flatten(0, 2), value.flatten(0, 2), mask)
            return out.view(*query.shape[:3], *out.shape[1:])

        # Only windows at the bottom and right need a mask: attend everywhere with the broadcast bias, then mend those.
        clean_rows = min(max(grid.clean_rows - (row or 0), 0), rows)
        clean_cols = grid.clean_cols
        everything = slice(None)
        if clean_rows == 0 or clean_cols == 0:
            out = part(everything, everything, masked=True)
        else:
            out = part(everything, everything, masked=False)
            if clean_rows < rows:
                out[:, clean_rows:] = part(slice(clean_rows, None), everything, masked=True)
            if clean_cols < cols:
                out[:, :clean_rows, clean_cols:] = part(slice(0, clean_rows), slice(clean_cols, None), masked=True)
        return linear(out.transpose(3, 4).reshape(batch, rows, cols, tokens, channels), self.proj)

    def prompt_keys(self, prompts: Tensor | None, grid: WindowGrid) -> PromptKeys | None:
        """Project prompts once a map: a shared set (P, C), or a map (B, ceil(H/2), ceil(W/2), C)."""
        if prompts is None:
            return None
        channels = self.proj.in_features
        kv = F.linear(prompts, self.qkv.weight[channels:], self.qkv.bias[channels:])
        if prompts.dim() == 2:
            key, value = kv.unflatten(-1, (2, self.heads, -1)).permute(1, 2, 0, 3)
            return PromptKeys(key[None, None, None], value[None, None, None], None)
        half = WindowGrid(-(-grid.height // 2), -(-grid.width // 2), grid.window // 2, grid.shift // 2)
        key, value = half.partition(kv).unflatten(-1, (2, self.heads, -1)).movedim((4, 5), (0, 4))
        return PromptKeys(key, value, half.labels(prompts.device))


@dataclass(frozen=True)
class PromptKeys:
    """Keys and values of prompts, (B or 1, rows or 1, cols or 1, heads, P, head dim), and the regions they lie in.

    ``labels`` (rows, cols, P); None where every token sees every prompt.
    """

    key: Tensor
    value: Tensor
    labels: Tensor | None

    def of_sample(self, index: int) -> PromptKeys:
        """Those of one sample of the batch; a shared set is everyone's."""
        if self.key.shape[0] == 1:
            return self
        return PromptKeys(self.key[index : index + 1], self.value[index : index + 1], self.labels)


def _rows(keys: Tensor, rows: slice) -> Tensor:
    return keys if keys.shape[1] == 1 else keys[:, rows]


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
        device = x.device.type
        if not torch.is_autocast_enabled(device):
            out: Tensor = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return out
        with torch.autocast(device, enabled=False):  # in bfloat16 it takes twice as long, forward and backward
            out = self.conv(x.float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return out.to(torch.get_autocast_dtype(device))
