"""Geometry of (shifted) window attention: which tokens share a window, and which of them may see each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class WindowGrid:
    """Windows of ``window`` x ``window`` tokens over a map of ``height`` x ``width``, shifted by ``shift``.

    Maps that are no multiple of the window are padded at the bottom and right; padding is never visible to a real
    token. ``rows`` x ``cols`` windows; those in the first ``clean_rows`` x ``clean_cols`` need no mask.
    """

    height: int
    width: int
    window: int
    shift: int

    @property
    def rows(self) -> int:
        return -(-self.height // self.window)

    @property
    def cols(self) -> int:
        return -(-self.width // self.window)

    @property
    def clean_rows(self) -> int:
        return _clean(self.height, self.window, self.shift)

    @property
    def clean_cols(self) -> int:
        return _clean(self.width, self.window, self.shift)

    def partition(self, x: Tensor) -> Tensor:
        """Return (B, height, width, C) to (B, rows, cols, window², C)."""
        batch, height, width, channels = x.shape
        w = self.window
        pad = (self.rows * w - height, self.cols * w - width)
        if any(pad):
            x = F.pad(x, (0, 0, 0, pad[1], 0, pad[0]))
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.reshape(batch, self.rows, w, self.cols, w, channels).transpose(2, 3)
        return x.reshape(batch, self.rows, self.cols, w * w, channels)

    def merge(self, x: Tensor) -> Tensor:
        """Return (B, rows, cols, window², C) back to (B, height, width, C)."""
        batch, channels, w = x.shape[0], x.shape[-1], self.window
        x = x.reshape(batch, self.rows, self.cols, w, w, channels).transpose(2, 3)
        x = x.reshape(batch, self.rows * w, self.cols * w, channels)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), (1, 2))
        return x[:, : self.height, : self.width]

    def strip(self, row: int) -> Strip:
        """Return where the tokens of one row of windows lie in the map."""
        return _strip(self.height, self.width, self.window, self.shift, row)

    def labels(self, device: torch.device) -> Tensor:
        """Return the region of every token, (rows, cols, window²), int64: equals see each other, padding is -1."""
        return _grid_labels(self.height, self.width, self.window, self.shift, device)


@dataclass(frozen=True)
class Strip:
    """One row of windows: ``gather`` (cols * window²) gives the map's token for each window token (any token for
    padding); in ``scatter`` it is -1 for padding. ``bands`` give the way back: from map row ``top`` on, ``rows`` rows
    are the window tokens ``index``.
    """

    gather: Tensor
    scatter: Tensor
    bands: tuple[tuple[int, int, Tensor], ...]


@lru_cache(maxsize=2048)
@torch.inference_mode(False)
def _strip(height: int, width: int, window: int, shift: int, row: int) -> Strip:
    rows, cols = -(-height // window), -(-width // window)
    y = (row * window + torch.arange(window) + shift) % (rows * window)
    x = (torch.arange(cols * window) + shift) % (cols * window)
    index = y.clamp(max=height - 1)[:, None] * width + x.clamp(max=width - 1)
    real = (y < height)[:, None] & (x < width)
    gather, scatter = (
        t.reshape(window, cols, window).transpose(0, 1).flatten() for t in (index, torch.where(real, index, -1))
    )
    column = (torch.arange(width) - shift) % (cols * window)
    within = column // window * window**2 + column % window
    bands = []
    for top in sorted({int(y[0]), 0} if int(y[-1]) < int(y[0]) else {int(y[0])}):
        first = int((y == top).nonzero()[0, 0])
        count = min(window - first if top == 0 else rows * window - top, window - first, height - top)
        if count > 0:
            band = (torch.arange(first, first + count) * window)[:, None] + within
            bands.append((top, count, band.flatten()))
    return Strip(gather, scatter, tuple(bands))


def _labels(length: int, window: int, shift: int) -> Tensor:
    """Return the region of each position along one padded and shifted axis, in windows: (count, window)."""
    count = -(-length // window)
    padded = count * window
    position = torch.arange(padded)
    label = (position >= padded - window).long() + (position >= padded - shift).long() if shift else position * 0
    label[(position + shift) % padded >= length] = -1
    return label.reshape(count, window)


@lru_cache(maxsize=256)
def _clean(length: int, window: int, shift: int) -> int:
    """Return the number of leading windows along an axis whose tokens all see each other."""
    labels = _labels(length, window, shift)
    uniform = ((labels == labels[:, :1]) & (labels >= 0)).all(dim=1).tolist()
    return uniform.index(False) if False in uniform else len(uniform)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is cached must serve training as well
def _grid_labels(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    rows, cols = _labels(height, window, shift), _labels(width, window, shift)
    r, c = rows[:, None, :, None], cols[None, :, None, :]
    label = torch.where((r < 0) | (c < 0), -1, 3 * r + c)
    return label.reshape(rows.shape[0], cols.shape[0], window * window).to(device)  # kept there: copies make GPUs wait


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def relative_index(window: int, device: torch.device) -> Tensor:
    """Return the row of the relative-bias table for each (query, key) pair: (window², window²), int64."""
    axis = torch.arange(window)
    dy = (axis[:, None] - axis[None, :]) + window - 1
    index = dy[:, None, :, None] * (2 * window - 1) + dy[None, :, None, :]
    return index.reshape(window * window, window * window).to(device)
