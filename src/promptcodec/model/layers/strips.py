"""A block with window attention, a row of windows at a time: only its result leaves the cache. Inference on CPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.layers.compiled_windows import run_compiled
from promptcodec.model.layers.linear import linear
from promptcodec.model.layers.mixers import PromptKeys, WindowAttention
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.model.steering import Prompt

Branch = Callable[[Tensor], Tensor]
PAIRS = 192  # (window, head) pairs at once: fewer stay in cache a little better, but every call has its price


def in_strips(
    x: Tensor, mixer: WindowAttention, prompts: Sequence[Prompt], norms: tuple[nn.Module, nn.Module], ffn: Branch | None
) -> Tensor:
    """Return x + mixer(norms[0](x)), then the same with ``ffn`` where there is one. Takes and gives (B, H, W, C).

    float32 goes by compiled kernels, the rows on several threads, or else in pieces of a row. float64 is the way to
    probabilities and keeps the operations whose exactness was measured; bfloat16 has torch's fused attention.
    """
    grid = mixer.grid(x)
    keys = mixer.prompt_keys(prompts, grid)
    x = x.contiguous()
    out = torch.empty_like(x)
    in_pieces = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    for sample in range(len(x)):
        sample_keys = [k.of_sample(sample) for k in keys]
        source, target = x[sample].flatten(0, 1), out[sample].flatten(0, 1)
        if in_pieces and run_compiled(source, target, grid, mixer, norms, sample_keys, ffn):
            continue
        attention = StripAttention(mixer, grid, sample_keys, x) if in_pieces else None
        step = attention.windows if attention is not None else grid.cols
        for row in range(grid.rows):
            tokens = source.index_select(0, grid.strip(row).gather)
            for col in range(0, grid.cols, step):
                part = tokens[col * grid.window**2 : (col + step) * grid.window**2]
                normed = norms[0](part)
                if attention is not None:
                    part += attention(normed, row, col)
                else:
                    windows = normed.view(1, 1, grid.cols, -1, x.shape[3])
                    part += mixer.attend(windows, grid, sample_keys, row).view_as(part)
                if ffn is not None:
                    part += ffn(norms[1](part))
            _put_back(tokens, target, grid, row)
    return out


def _put_back(tokens: Tensor, target: Tensor, grid: WindowGrid, row: int) -> None:
    """Put the tokens of a row of windows to where they lie in the map (height · width, C)."""
    for top, rows, index in grid.strip(row).bands:
        torch.index_select(tokens, 0, index, out=target[top * grid.width : (top + rows) * grid.width])


class StripAttention:
    """Attention of one block over neighbours in a row of windows; holds the masks and the room for the scores.

    ``prompts``: of one sample. Not for N-gram context, which looks across windows.
    """

    def __init__(self, mixer: WindowAttention, grid: WindowGrid, prompts: Sequence[PromptKeys], like: Tensor) -> None:
        self._mixer, self._grid, self._prompts = mixer, grid, prompts
        pieces = -(-grid.cols * mixer.heads // PAIRS)
        self.windows = -(-grid.cols // pieces)  # at most so many windows a call
        self._labels, self._key_labels = mixer.labels(grid, prompts, like.device)
        self._bias = F.pad(mixer.bias(like), (self._key_labels.shape[2] - self._labels.shape[2], 0))
        self._masks: dict[tuple[int, int], Tensor] = {}
        self._room = like.new_empty(self.windows, mixer.heads, *self._bias.shape[2:])

    def __call__(self, tokens: Tensor, row: int, col: int) -> Tensor:
        """Normalised tokens of the windows from (``row``, ``col``) on, (windows · window², C), to the same shape."""
        mixer, size = self._mixer, self._grid.window**2
        qkv = linear(tokens, mixer.qkv).view(-1, size, 3, mixer.heads, tokens.shape[1] // mixer.heads)
        windows = len(qkv)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).contiguous()  # each (windows, heads, tokens, d)
        q, k = mixer.query(q), mixer.key(k)
        if self._prompts:
            keys = [(_at(p.key, row, col, windows), _at(p.value, row, col, windows)) for p in self._prompts]
            k, v = torch.cat([*(key for key, _ in keys), k], 2), torch.cat([*(value for _, value in keys), v], 2)
        out = self._attend(q, k, v, row, col)
        return linear(out.transpose(1, 2).reshape(tokens.shape), mixer.proj)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, row: int, col: int) -> Tensor:
        shape, scale = q.shape, q.shape[-1] ** -0.5
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))
        scores = self._masked(shape[0], row, col).flatten(0, 1)
        torch.baddbmm(scores, q, k.transpose(1, 2), alpha=scale, out=scores)
        return torch.bmm(torch.softmax(scores, -1, out=scores), v).view(shape)

    def _masked(self, windows: int, row: int, col: int) -> Tensor:
        """Return the room for scores, (windows, heads, tokens, keys), filled with what is added to them."""
        room = self._room[:windows]
        for part, mask in self._parts(windows, row, col):
            room[part] = mask
        return room

    def _parts(self, windows: int, row: int, col: int) -> Iterator[tuple[slice, Tensor]]:
        """Runs of windows with one mask: columns but the last few are alike."""
        alike = min(max(self._grid.clean_cols - col, 0), windows)
        if alike:
            yield slice(0, alike), self._mask(row, 0)
        for i in range(alike, windows):
            yield slice(i, i + 1), self._mask(row, col + i)

    def _mask(self, row: int, col: int) -> Tensor:
        row = row if row >= self._grid.clean_rows else 0
        if row < self._grid.clean_rows and col < self._grid.clean_cols:
            return self._bias
        if (row, col) not in self._masks:
            one = (slice(row, row + 1), slice(col, col + 1))
            self._masks[row, col] = self._mixer.masked(self._bias, self._labels[one], self._key_labels[one])
        return self._masks[row, col]


def _at(keys: Tensor, row: int, col: int, windows: int) -> Tensor:
    """Keys or values (1, rows or 1, cols or 1, heads, P, d) of some windows of a row, (windows, heads, P, d)."""
    of_row = keys[0, row if keys.shape[1] > 1 else 0]
    return of_row[col : col + windows] if len(of_row) > 1 else of_row.expand(windows, -1, -1, -1)
