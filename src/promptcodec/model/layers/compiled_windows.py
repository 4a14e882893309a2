"""Windows of a block by compiled kernels, with oneDNN's or MKL's products between them, on several threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from promptcodec.model.kernels.optional import kernels_or_none
from promptcodec.model.kernels.workers import each, is_torch_alone
from promptcodec.model.layers.compiled_masks import masks
from promptcodec.model.layers.mixers import PromptKeys, WindowAttention
from promptcodec.model.layers.pointwise import linear
from promptcodec.model.layers.windows import WindowGrid, relative_index

Branch = Callable[[Tensor], Tensor]
_FLOATS = 3 << 17  # of tokens in a part, at most: 1.5 MiB, and thrice as much for queries, keys and values
_PARTS = 2  # for each thread, at least: the slowest has half a part to wait for


def run_compiled(
    source: Tensor, target: Tensor, grid: WindowGrid, mixer: WindowAttention, norms: tuple[nn.Module, nn.Module],
    prompts: Sequence[PromptKeys], ffn: Branch | None,
) -> bool:  # fmt: skip
    """Make ``target`` from ``source``, maps (height · width, C) in float32 on the CPU, as ``in_strips`` says.

    ``prompts``: of one sample. False, and nothing done, for scaled cosines, without feed-forward, or where there are no
    kernels.
    """
    first, second = norms
    if mixer.logit_scale is not None or ffn is None or is_torch_alone():
        return False
    if type(first) is not nn.LayerNorm or type(second) is not nn.LayerNorm:
        return False
    extra = sum(p.key.shape[4] for p in prompts)
    channels = source.shape[1]
    kernels = _kernels(mixer.window**2, extra, channels, channels // mixer.heads, first.eps, second.eps)
    if kernels is None:
        return False
    block = _Block(kernels, source, target, grid, mixer, (first, second), prompts, ffn)
    pieces = min(grid.cols, -(-_PARTS * torch.get_num_threads() // grid.rows))  # of a row: one, unless there are few
    pieces = max(pieces, -(-grid.cols * mixer.window**2 * channels // _FLOATS))
    step = -(-grid.cols // pieces)
    pieces = -(-grid.cols // step)
    each(grid.rows * pieces, lambda part: block.windows(part // pieces, part % pieces * step, step))
    return True


def kernels_work() -> bool:
    """Return whether attention can be compiled here: llvmlite is installed, and knows this processor."""
    return _kernels(64, 0, 128, 16, 1e-5, 1e-5) is not None


class _Block:
    def __init__(
        self, kernels: _Kernels, source: Tensor, target: Tensor, grid: WindowGrid, mixer: WindowAttention,
        norms: tuple[nn.LayerNorm, nn.LayerNorm], prompts: Sequence[PromptKeys], ffn: Branch,
    ) -> None:  # fmt: skip
        self._kernels, self._source, self._target, self._grid = kernels, source, target, grid
        self._mixer, self._norms, self._ffn = mixer, norms, ffn
        self._bias, (self._masks, self._which) = _bias(mixer), masks(mixer, grid, prompts)
        self._extra = _extra(prompts) if prompts else source.new_empty(1, 1)

    def windows(self, row: int, col: int, count: int) -> None:
        """Attend in at most ``count`` windows of a row, from ``col`` on."""
        kernels, strip, size = self._kernels, self._grid.strip(row), self._grid.window**2
        inside = slice(col * size, (col + count) * size)
        gather, scatter = strip.gather[inside], strip.scatter[inside]
        tokens, normed = self._source.new_empty(2, len(gather), self._source.shape[1])
        first, second = self._norms
        _call(kernels.gather_norm, self._source, gather, tokens, first.weight, first.bias, normed, count=len(tokens))
        branch = self._attend(normed, row, col)
        _call(kernels.add_norm, tokens, branch, second.weight, second.bias, normed, count=len(tokens))
        _call(kernels.scatter_sum, tokens, self._ffn(normed), scatter, self._target, count=len(tokens))

    def _attend(self, tokens: Tensor, row: int, col: int) -> Tensor:
        qkv, out = linear(tokens, self._mixer.qkv), torch.empty_like(tokens)
        rows, cols = self._extra.shape[:2]
        extra, which = self._extra[row if rows > 1 else 0, col if cols > 1 else 0], self._which[row, col]
        tensors = (qkv, extra, self._bias, self._masks, which, out, tokens.new_empty(self._kernels.room))
        counts = (len(tokens) // self._grid.window**2, self._mixer.heads, int(cols > 1))
        _call(self._kernels.attention, *tensors, count=counts)
        return linear(out, self._mixer.proj)


def _call(kernel: Callable[..., None], *tensors: Tensor, count: int | tuple[int, ...]) -> None:
    kernel(*(tensor.data_ptr() for tensor in tensors), *((count,) if isinstance(count, int) else count))


def _bias(mixer: WindowAttention) -> Tensor:
    """Return the bias that is added to the logits of any window, (heads, keys, queries), to base 2.

    By numpy: torch would take OpenMP's threads to it, which then stay busy for milliseconds that workers could use.
    """
    size = mixer.window**2
    if mixer.relative_bias is None:
        return torch.zeros(mixer.heads, size, size, dtype=torch.float32)
    index = relative_index(mixer.window, torch.device("cpu")).numpy()
    bias = mixer.relative_bias.detach().numpy()[index.T] / np.float32(math.log(2))
    return torch.from_numpy(np.ascontiguousarray(bias.transpose(2, 0, 1)))


def _extra(prompts: Sequence[PromptKeys]) -> Tensor:
    """Return the keys and values of all prompts, (rows or 1, cols or 1, 2, heads, P, head dim)."""
    rows, cols = (max(p.key.shape[i] for p in prompts) for i in (1, 2))
    sets = [[p.key[0].expand(rows, cols, -1, -1, -1), p.value[0].expand(rows, cols, -1, -1, -1)] for p in prompts]
    return torch.stack([torch.cat(parts, 3) for parts in zip(*sets, strict=True)], 2)


@dataclass(frozen=True)
class _Kernels:
    attention: Callable[..., None]
    room: int
    gather_norm: Callable[..., None]
    add_norm: Callable[..., None]
    scatter_sum: Callable[..., None]


@cache
def _kernels(
    tokens: int, prompts: int, channels: int, width: int, first_eps: float, second_eps: float
) -> _Kernels | None:
    def compiled() -> _Kernels | None:
        from promptcodec.model.kernels.compiled.attention import attention, room
        from promptcodec.model.kernels.compiled.rows import add_norm, gather_norm, scatter_sum

        attend, first = attention(tokens, prompts, width), gather_norm(channels, first_eps)
        second, last = add_norm(channels, second_eps), scatter_sum(channels)
        if attend is None or first is None or second is None or last is None:
            return None
        return _Kernels(attend, room(tokens, prompts, width), first, second, last)

    return kernels_or_none(compiled, "attention")
