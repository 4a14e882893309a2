"""Multi-scale structural similarity (Wang et al. 2003), differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.errors import UsageError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
SMALLEST = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1)  # pixels a side that the coarsest scale still has a window for


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """MS-SSIM of each sample, (B,), mean over channels; x and y are (B, C, H, W) in [0, 1].

    Raises UsageError for sides of 160 pixels and less.
    """
    if min(x.shape[-2:]) <= SMALLEST:
        raise UsageError(f"MS-SSIM takes pictures of more than {SMALLEST} pixels a side, not {tuple(x.shape[-2:])}")
    terms = []
    for scale in range(len(WEIGHTS)):
        luminance, contrast = _terms(x, y)
        terms.append((luminance * contrast if scale == len(WEIGHTS) - 1 else contrast).mean((2, 3)))
        if scale < len(WEIGHTS) - 1:
            padding = [n % 2 for n in x.shape[-2:]]
            x, y = (F.avg_pool2d(t, 2, padding=padding) for t in (x, y))
    weights = torch.tensor(WEIGHTS, device=x.device)[:, None, None]
    # Negative structure would make the power complex; its gradient is useless there anyway.
    return (torch.stack(terms).clamp_min(1e-6) ** weights).prod(0).mean(1)


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    variances = xx - mean_x**2 + yy - mean_y**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)


def _blur(x: Tensor) -> Tensor:
    """Gaussian window over the last two axes of (…, H, W), without padding."""
    position = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    window = torch.exp(-(position**2) / (2 * SIGMA**2))
    window = window / window.sum()
    planes = x.flatten(0, -3)[:, None]
    planes = F.conv2d(F.conv2d(planes, window.view(1, 1, 1, -1)), window.view(1, 1, -1, 1))
    return planes.view(*x.shape[:-2], *planes.shape[-2:])
