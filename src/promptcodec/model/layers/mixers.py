"""Token mixers: how tokens of a map see their neighbours. All take and give (B, H, W, C)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model.layers.attention import window_attention
from promptcodec.model.layers.depthwise_training import learning_depthwise
from promptcodec.model.layers.ngram import NgramContext, cosine_scaled, initial_logit_scale
from promptcodec.model.layers.pointwise import linear
from promptcodec.model.layers.windows import WindowGrid, relative_index
from promptcodec.model.steering import Prompt


class WindowAttention(nn.Module):
    """Multi-head self-attention inside windows, with relative position bias (Swin) and optional prompts.

    Prompts are further keys and values only, in front of the window's tokens (papers 000, 001, 002, 003).
    """

    def __init__(
        self, channels: int, heads: int, window: int, shift: int,
        ngram: int = 0, cosine: bool = False, relative: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.observer: Callable[[Seen, WindowGrid], None] | None = None  # sees every map whole: evaluate.map_model
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads)) if relative else None
        self.logit_scale = nn.Parameter(initial_logit_scale(heads)) if cosine else None
        self.ngram = NgramContext(channels, heads, window, ngram) if ngram else None

    def forward(self, x: Tensor, prompts: Sequence[Prompt] = (), region: Tensor | None = None) -> Tensor:
        """Mix x: normalised tokens (B, H, W, C). ``region``: where the N-gram context acts, see ``NgramContext``."""
        if self.ngram is not None:
            x = x + self.ngram(x, region)
        grid = self.grid(x)
        return grid.merge(self.attend(grid.partition(x), grid, self.prompt_keys(prompts, grid)))

    def forward_carrying(
        self, x: Tensor, prompts: Sequence[Prompt], region: Tensor | None = None
    ) -> tuple[Tensor, tuple[Prompt, ...]]:
        """Return as ``forward`` does, and those of ``prompts`` that are carried on, updated by the same attention.

        They are queries as well, see all keys of their region, and pass the output projection; a set that all windows
        share becomes its mean over the windows, (B, P, C).
        """
        if self.ngram is not None:
            x = x + self.ngram(x, region)
        grid = self.grid(x)
        windows, keys = grid.partition(x), self.prompt_keys(prompts, grid)
        seen = self._project(windows, grid, keys, slice(None))
        carried = tuple(
            self._update(prompt, keyed, seen, grid) for prompt, keyed in zip(prompts, keys, strict=True) if prompt.carry
        )
        return grid.merge(self._attend(seen, grid, 0)), carried

    def grid(self, x: Tensor) -> WindowGrid:
        """Return the windows of a map (B, H, W, C)."""
        return WindowGrid(x.shape[1], x.shape[2], self.window, self.shift)

    def attend(
        self, windows: Tensor, grid: WindowGrid, prompts: Sequence[PromptKeys] = (), row: int | None = None
    ) -> Tensor:
        """Compute the attention inside windows (B, rows, cols, tokens, C).

        All of the grid's rows, or only the row ``row``.
        """
        rows_of_grid = slice(None) if row is None else slice(row, row + 1)
        return self._attend(self._project(windows, grid, prompts, rows_of_grid), grid, row or 0)

    def labels(
        self, grid: WindowGrid, prompts: Sequence[PromptKeys], device: torch.device, row: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return the regions of the queries in some rows of windows, (rows, cols, tokens), and of the keys, (rows,
        cols, keys).
        """
        labels = grid.labels(device)[row]
        if not prompts:
            return labels, labels
        regions = [_labels(p, labels, row) for p in prompts]
        image_first = any(p.compat_mask for p in prompts)
        return labels, torch.cat([labels, *regions] if image_first else [*regions, labels], dim=2)

    def _project(self, windows: Tensor, grid: WindowGrid, prompts: Sequence[PromptKeys], row: slice) -> Seen:
        batch, rows, cols = windows.shape[:3]
        qkv = linear(windows, self.qkv).unflatten(-1, (3, self.heads, -1)).movedim((4, 5), (0, 4))
        q, k, v = qkv.unbind(0)  # each (B, rows, cols, heads, tokens, head dim)
        q, k, bias = self.query(q), self.key(k), self.bias(q)
        labels, key_labels = self.labels(grid, prompts, windows.device, row)
        if not prompts:
            return Seen(q, k, v, bias, labels, key_labels)
        expand = (batch, rows, cols, -1, -1, -1)
        k = torch.cat([_rows(p.key, row).expand(expand) for p in prompts] + [k], dim=4)
        v = torch.cat([_rows(p.value, row).expand(expand) for p in prompts] + [v], dim=4)
        bias = F.pad(bias, (k.shape[4] - labels.shape[2], 0))
        return Seen(q, k, v, bias, labels, key_labels)

    def _attend(self, seen: Seen, grid: WindowGrid, first_row: int) -> Tensor:
        if self.observer is not None:
            self.observer(seen, grid)
        batch, rows, cols, heads, tokens, width = seen.q.shape

        def part(inside: slice, across: slice, masked: bool) -> Tensor:
            query, key, value = (t[:, inside, across] for t in (seen.q, seen.k, seen.v))
            mask = seen.bias
            if masked:
                labels, key_labels = seen.labels[inside, across], seen.key_labels[inside, across]
                mask = self.masked(seen.bias, labels, key_labels).repeat(batch, 1, 1, 1)
            out = window_attention(query.flatten(0, 2), key.flatten(0, 2), value.flatten(0, 2), mask)
            return out.view(*query.shape[:3], *out.shape[1:])

        # Only windows at the bottom and right need a mask: attend everywhere with the broadcast bias, then mend those.
        clean_rows = min(max(grid.clean_rows - first_row, 0), rows)
        clean_cols = grid.clean_cols
        everything = slice(None)
        if clean_rows == 0 or clean_cols == 0:
            out = part(everything, everything, masked=True)
        else:
            out = part(everything, everything, masked=False)
            if torch.is_grad_enabled() and (clean_rows < rows or clean_cols < cols):
                out = out.clone()  # fused attention keeps its output for the backward pass, where the bias is frozen
            if clean_rows < rows:
                out[:, clean_rows:] = part(slice(clean_rows, None), everything, masked=True)
            if clean_cols < cols:
                out[:, :clean_rows, clean_cols:] = part(slice(0, clean_rows), slice(clean_cols, None), masked=True)
        return linear(out.transpose(3, 4).reshape(batch, rows, cols, tokens, heads * width), self.proj)

    def query(self, q: Tensor) -> Tensor:
        """Return queries (…, heads, tokens, d) as the attention wants them, which divides by sqrt(d) afterwards."""
        return q if self.logit_scale is None else cosine_scaled(q, self.logit_scale) * math.sqrt(q.shape[-1])

    def key(self, k: Tensor) -> Tensor:
        """Return the keys of tokens or prompts (…, d) as the attention wants them."""
        return k if self.logit_scale is None else F.normalize(k, dim=-1)

    def bias(self, like: Tensor) -> Tensor:
        """Return the bias of relative positions on the logits, (1, heads, window², window²)."""
        if self.relative_bias is None:
            return like.new_zeros(1, 1, self.window**2, self.window**2).expand(-1, self.heads, -1, -1)
        return self.relative_bias[relative_index(self.window, like.device)].permute(2, 0, 1)[None].to(like.dtype)

    def masked(self, bias: Tensor, labels: Tensor, key_labels: Tensor) -> Tensor:
        """Return ``bias`` with what tokens of other regions are hidden by; (windows, heads, queries, keys).

        Scaled cosines are hidden by -100 as in Swin V2, which logits of up to 100 can shine through; padding never is.
        """
        hidden = ~visible(labels, key_labels).flatten(0, 1)[:, None]
        if self.logit_scale is None:
            return bias.masked_fill(hidden, float("-inf"))
        padding = (key_labels == -1).flatten(0, 1)[:, None, None]
        return torch.where(hidden & padding, float("-inf"), bias - 100.0 * hidden.to(bias.dtype))

    def prompt_keys(self, prompts: Sequence[Prompt], grid: WindowGrid) -> tuple[PromptKeys, ...]:
        """Project prompts, once a map. Raises UsageError where they do not fit these windows."""
        return tuple(self._keys(prompt, grid) for prompt in prompts)

    def _keys(self, prompt: Prompt, grid: WindowGrid) -> PromptKeys:
        channels = self.proj.in_features
        if prompt.channels != channels:
            raise UsageError(f"prompts of {prompt.channels} channels do not fit a block of {channels}")
        tokens = prompt.tokens.permute(0, 2, 3, 1) if prompt.is_map else prompt.tokens
        kv = F.linear(tokens, self.qkv.weight[channels:], self.qkv.bias[channels:])
        if not prompt.is_map:
            key, value = kv.unflatten(-1, (2, self.heads, -1)).movedim((-3, -2), (0, -3))
            shape = (-1, 1, 1, *key.shape[-3:])
            return PromptKeys(self.key(key).reshape(shape), value.reshape(shape), None)
        prompt_grid = _prompt_grid(prompt, grid)
        key, value = prompt_grid.partition(kv).unflatten(-1, (2, self.heads, -1)).movedim((4, 5), (0, 4))
        return PromptKeys(self.key(key), value, prompt_grid.labels(tokens.device), prompt.compat_mask)

    def _update(self, prompt: Prompt, keys: PromptKeys, seen: Seen, grid: WindowGrid) -> Prompt:
        channels = self.proj.in_features
        batch, rows, cols = seen.k.shape[:3]
        tokens = prompt.tokens.permute(0, 2, 3, 1) if prompt.is_map else prompt.tokens
        q = F.linear(tokens, self.qkv.weight[:channels], self.qkv.bias[:channels])
        if prompt.is_map:
            prompt_grid = _prompt_grid(prompt, grid)
            q = prompt_grid.partition(q).unflatten(-1, (self.heads, -1)).transpose(3, 4)
        else:
            q = q.unflatten(-1, (self.heads, -1)).transpose(-3, -2).reshape(-1, 1, 1, *keys.key.shape[3:])
            q = q.expand(batch, rows, cols, -1, -1, -1)
        q = self.query(q)
        seen_by = visible(_labels(keys, seen.labels, slice(None)), seen.key_labels).flatten(0, 1)[:, None]
        mask = torch.zeros_like(seen_by, dtype=q.dtype).masked_fill(~seen_by, float("-inf"))
        mask = mask.repeat(batch, self.heads, 1, 1)
        out = window_attention(q.flatten(0, 2), seen.k.flatten(0, 2), seen.v.flatten(0, 2), mask)
        out = linear(out.view(*q.shape).transpose(3, 4).flatten(4), self.proj)
        if prompt.is_map:
            return replace(prompt, tokens=prompt.tokens + prompt_grid.merge(out).permute(0, 3, 1, 2))
        return replace(prompt, tokens=prompt.tokens + out.mean(dim=(1, 2)))


@dataclass(frozen=True)
class PromptKeys:
    """Keys and values of prompts, (B or 1, rows or 1, cols or 1, heads, P, head dim), and the regions they lie in.

    ``labels`` (rows, cols, P); None where every token sees every prompt.
    """

    key: Tensor
    value: Tensor
    labels: Tensor | None
    compat_mask: bool = False

    def of_sample(self, index: int) -> PromptKeys:
        """Return the keys of one sample of the batch; a shared set is everyone's."""
        if self.key.shape[0] == 1:
            return self
        return replace(self, key=self.key[index : index + 1], value=self.value[index : index + 1])


@dataclass(frozen=True)
class Seen:
    """Queries (B, rows, cols, heads, tokens, head dim), all keys and values, bias (1, heads, tokens, keys), regions."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor
    labels: Tensor
    key_labels: Tensor


def _prompt_grid(prompt: Prompt, grid: WindowGrid) -> WindowGrid:
    """Return the windows of a prompt map, shifted along with those of the tokens."""
    stride, size = prompt.stride, tuple(prompt.tokens.shape[2:])
    expected = (-(-grid.height // stride), -(-grid.width // stride))
    if grid.window % stride or grid.shift % stride:
        raise UsageError(
            f"prompts with one token for {stride} x {stride} do not divide windows of {grid.window}, shifted by "
            f"{grid.shift}"
        )
    if size != expected:
        raise UsageError(
            f"a prompt map of {size[0]} x {size[1]} does not fit {grid.height} x {grid.width} tokens at stride "
            f"{stride}: expected {expected[0]} x {expected[1]}"
        )
    return WindowGrid(*expected, grid.window // stride, grid.shift // stride)


def _rows(keys: Tensor, rows: slice) -> Tensor:
    return keys if keys.shape[1] == 1 else keys[:, rows]


def _labels(keys: PromptKeys, image: Tensor, rows: slice) -> Tensor:
    """Return the regions of the prompts of some rows of windows, beside those of their image tokens (rows, cols,
    tokens).
    """
    if keys.labels is None:
        return torch.full((*image.shape[:2], keys.key.shape[4]), _SHARED, device=image.device)
    return keys.labels[rows]


_PADDING = -1  # label of what lies outside the map
_SHARED = -2  # label of tokens that see, and are seen from, every real token of a window


def visible(query: Tensor, key: Tensor) -> Tensor:
    """Return (…, queries) and (…, keys) labels to a boolean (…, queries, keys)."""
    query, key = query[..., :, None], key[..., None, :]
    return (query == key) | (key == _SHARED) | ((query == _SHARED) & (key != _PADDING))


class DepthwiseMixer(nn.Module):
    """Depthwise convolution: each channel sees a ``kernel`` x ``kernel`` neighbourhood of itself."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Mix x: normalised tokens (B, H, W, C)."""
        return depthwise(self.conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a depthwise convolution to x (B, C, H, W); its gradients are quickest with channels last.

    Under autocast in float32 all the same: in bfloat16 torch's takes twice as long, its weights' gradient five times.
    """
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):  # on meta, costs are counted: it knows no autocast
        return _convolved(conv, x)
    with torch.autocast(device, enabled=False):
        out = _convolved(conv, x.float())
    return out.to(torch.get_autocast_dtype(device))


def _convolved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    if x.device.type == "cpu" and torch.is_grad_enabled() and conv.weight.requires_grad:
        return learning_depthwise(conv, x)
    return F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, 1, conv.groups)
