"""Boxes of detectors: overlap, and the removal of all but the surest of those that show the same."""

from __future__ import annotations

import torch
from torch import Tensor


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute intersection over union, (n, m), of boxes (n, 4) and (m, 4): corners x0, y0, x1, y1."""
    low = torch.maximum(boxes[:, None, :2], others[:, :2])
    high = torch.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, others)]
    return shared / (areas[0][:, None] + areas[1] - shared).clamp(min=1e-9)


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, most_overlap: float, most: int) -> Tensor:
    """Return indices of the boxes that stay, the surest first, at most ``most`` of them.

    A box goes where one of its group (n,), such as its category, overlaps it by more than ``most_overlap`` and is
    surer.
    """
    order = scores.argsort(descending=True, stable=True)
    # Groups are laid out apart, so that boxes of two never meet.
    span = boxes.max() - boxes.min() + 1 if len(boxes) else boxes.new_zeros(())
    apart = (boxes + (groups.to(boxes) * span)[:, None])[order]
    remaining = torch.ones(len(order), dtype=torch.bool)
    kept: list[int] = []
    for index in range(len(order)):
        if not remaining[index]:
            continue
        kept.append(index)
        if len(kept) == most:
            break
        remaining &= overlaps(apart[index : index + 1], apart)[0].cpu() <= most_overlap
    return order[kept]
