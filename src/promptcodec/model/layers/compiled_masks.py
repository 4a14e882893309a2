"""Which tokens of a window are hidden from which, as terms that a kernel adds to logits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from promptcodec.model.layers.mixers import PromptKeys, WindowAttention, visible
from promptcodec.model.layers.windows import WindowGrid

_HIDDEN = -1e30  # finite, so that differences are


def masks(mixer: WindowAttention, grid: WindowGrid, prompts: Sequence[PromptKeys]) -> tuple[Tensor, Tensor]:
    """Return 0 or what hides, (masks, prompts + tokens, queries), and the mask of each window, (rows, cols), int64."""
    if not prompts:
        return _without_prompts(grid)
    return _build(grid, *mixer.labels(grid, prompts, torch.device("cpu")))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _without_prompts(grid: WindowGrid) -> tuple[Tensor, Tensor]:
    labels = grid.labels(torch.device("cpu"))
    return _build(grid, labels, labels)


def _build(grid: WindowGrid, labels: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    which = torch.zeros(grid.rows, grid.cols, dtype=torch.int64)
    distinct = [torch.zeros(keys.shape[2], labels.shape[2], dtype=torch.float32)]
    numbers = {}
    for row in range(grid.rows):
        for col in range(0 if row >= grid.clean_rows else grid.clean_cols, grid.cols):
            like = row if row >= grid.clean_rows else 0, col if col >= grid.clean_cols else 0
            if like not in numbers:
                numbers[like] = len(distinct)
                distinct.append(_HIDDEN * (~visible(labels[like], keys[like]).T).float())
            which[row, col] = numbers[like]
    return torch.stack(distinct), which
