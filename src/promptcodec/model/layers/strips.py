"""A block with window attention, a row of windows at a time: only its result leaves the cache. Inference on CPUs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from promptcodec.model.layers.compiled_windows import run_compiled
from promptcodec.model.layers.mixers import WindowAttention
from promptcodec.model.layers.strip_attention import StripAttention
from promptcodec.model.layers.windows import WindowGrid
from promptcodec.model.steering import Prompt

Branch = Callable[[Tensor], Tensor]


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
