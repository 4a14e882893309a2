"""The geometry of two-stage detectors: anchors, boxes that are moved, features within boxes, masks put in place."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

_RATIOS = (0.5, 1.0, 2.0)  # of height to width
_LARGEST_GROWTH = math.log(1000 / 16)
_SAMPLES = 2  # a bin's sides are sampled so often
_WHOLE, _WHOLE_LEVEL = 224, 4  # a box of this side belongs to the level at 1/16


def anchors(side: int, cells: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Return three boxes of area ``side``² at every cell, (rows * columns * 3, 4), of a map of ``cells`` (rows,
    columns) over a picture of ``size`` (height, width).
    """
    ratios = torch.tensor(_RATIOS)
    heights, widths = side * ratios.sqrt(), side / ratios.sqrt()
    shapes = (torch.stack([-widths, -heights, widths, heights], 1) / 2).round()
    rows, columns = (torch.arange(n) * (length // n) for n, length in zip(cells, size, strict=True))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x, y, x, y], -1).view(-1, 1, 4)
    return (places + shapes).view(-1, 4)


def moved(boxes: Tensor, shifts: Tensor, weights: Sequence[float], size: tuple[int, int]) -> Tensor:
    """Move the centres of boxes (n, 4) by shares of their sides, and scale the sides by exponents, as shifts (n, k, 4)
    say in units of 1 / ``weights``; clip them to ``size`` (height, width). Returns (n, k, 4).
    """
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centres = boxes[:, None, :2] + sides / 2
    scaled = shifts / shifts.new_tensor(weights)
    centres = centres + scaled[..., :2] * sides
    half = scaled[..., 2:].clamp(max=_LARGEST_GROWTH).exp() * sides / 2
    limit = shifts.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(torch.cat([centres - half, centres + half], -1).clamp(min=0), limit)


def align(pyramid: Sequence[Tensor], boxes: Tensor, bins: int) -> Tensor:
    """Return the features (n, C, bins, bins) within boxes (n, 4), each from the level that fits its size.

    ``pyramid``: levels (1, C, h, w) at 1/4, 1/8 and so on. Bins are means of 2x2 bilinear samples.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    level = (_WHOLE_LEVEL + (areas.sqrt() / _WHOLE).log2() + 1e-6).floor().clamp(2, len(pyramid) + 1).long() - 2
    out = boxes.new_zeros(len(boxes), pyramid[0].shape[1], bins, bins)
    for index, features in enumerate(pyramid):
        chosen = (level == index).nonzero()[:, 0]
        if len(chosen):
            out[chosen] = _sampled(features, boxes[chosen] / 2 ** (index + 2), bins)
    return out


def _sampled(features: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """Sample features (1, C, h, w) in boxes (n, 4) in units of their cells; what lies beyond the last cell is its
    value.
    """
    steps = (torch.arange(bins * _SAMPLES).to(boxes) + 0.5) / (bins * _SAMPLES)
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    points = boxes[:, None, :2] + steps[None, :, None] * sides[:, None]  # (n, samples, xy)
    x, y = (points[..., i].clamp(0, n - 1) for i, n in ((0, features.shape[3]), (1, features.shape[2])))
    extent = boxes.new_tensor([max(1, features.shape[3] - 1), max(1, features.shape[2] - 1)])
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1) / extent * 2 - 1
    rows = grid.view(1, -1, bins * _SAMPLES, 2)  # the boxes below each other: one picture, many places
    values = F.grid_sample(features, rows, align_corners=True)[0]
    values = values.view(features.shape[1], len(boxes), bins * _SAMPLES, bins * _SAMPLES)
    return F.avg_pool2d(values, _SAMPLES).transpose(0, 1)


def pasted(mask: Tensor, box: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Put a mask (m, m) in [0, 1], made for ``box``, into a picture of ``size`` (height, width): true above a half."""
    padded = F.pad(mask, (1, 1, 1, 1))  # with nothing around it, its border fades out as its inside does
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * (padded.shape[0] / mask.shape[0])
    left, top = (int(v) for v in (centre - half).tolist())
    right, bottom = (int(v) + 1 for v in (centre + half).tolist())
    shape = max(1, bottom - top), max(1, right - left)
    scaled = (F.interpolate(padded[None, None], size=shape, mode="bilinear")[0, 0] > 0.5).numpy()
    out = np.zeros(size, bool)
    rows, columns = slice(max(0, top), min(size[0], bottom)), slice(max(0, left), min(size[1], right))
    out[rows, columns] = scaled[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return out
