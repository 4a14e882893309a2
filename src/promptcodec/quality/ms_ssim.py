"""Multi-scale structural similarity (Wang et al. 2003), differentiable."""

from __future__ import annotations

from statistics import fmean

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.quality.pixels import Pixels, check_alike

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
SMALLEST_SIDE = (WINDOW - 1) * 2 ** (len(WEIGHTS) - 1) + 1  # pixels: the coarsest scale still has a window
LEAST = 1e-6  # negative structure would make the power complex; its gradient is useless there anyway


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the MS-SSIM of each sample, (B,), mean over channels; x and y are (B, C, H, W) in [0, 1].

    Raises UsageError for sides below SMALLEST_SIDE.
    """
    if min(x.shape[-2:]) < SMALLEST_SIDE:
        raise UsageError(
            f"MS-SSIM takes pictures of more than {SMALLEST_SIDE - 1} pixels a side, not {(*x.shape[-2:],)}"
        )
    terms = []
    for scale in range(len(WEIGHTS)):
        luminance, contrast = _terms(x, y)
        terms.append((luminance * contrast if scale == len(WEIGHTS) - 1 else contrast).mean((2, 3)))
        if scale < len(WEIGHTS) - 1:
            padding = [n % 2 for n in x.shape[-2:]]
            x, y = (F.avg_pool2d(t, 2, padding=padding) for t in (x, y))
    weights = torch.tensor(WEIGHTS, dtype=x.dtype, device=x.device)[:, None, None]
    return (torch.stack(terms).clamp_min(LEAST) ** weights).prod(0).mean(1)


@torch.inference_mode()
def ms_ssim_of_pixels(reference: Pixels, decoded: Pixels) -> float | None:
    """Compute the MS-SSIM (0 to 1) of two uint8 (H, W, 3) arrays, mean over R, G and B.

    None for pictures with a side below SMALLEST_SIDE. Raises ImageError where the arrays do not match.
    """
    check_alike(reference, decoded)
    if min(reference.shape[:2]) < SMALLEST_SIDE:
        return None
    # Channel by channel, for a third of the memory.
    return fmean(float(ms_ssim(*(_plane(p[:, :, channel]) for p in (reference, decoded)))) for channel in range(3))


def _plane(channel: Pixels) -> Tensor:
    """Return uint8 (H, W) to (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(channel.astype(np.float32) / 255)[None, None]


def _terms(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    c1, c2 = 0.01**2, 0.03**2
    mean_x, mean_y, xx, yy, xy = _blur(torch.stack([x, y, x * x, y * y, x * y]))
    variances = xx - mean_x**2 + yy - mean_y**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return luminance, (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)


def _blur(x: Tensor) -> Tensor:
    """Apply the Gaussian window over the last two axes of (…, H, W), without padding."""
    position = torch.arange(WINDOW, device=x.device, dtype=x.dtype) - WINDOW // 2
    window = torch.exp(-(position**2) / (2 * SIGMA**2))
    window = window / window.sum()
    planes = x.flatten(0, -3)[None]  # as channels: on CPUs thrice as fast as in a batch
    for shape in ((1, 1, 1, -1), (1, 1, -1, 1)):
        weight = window.view(shape).expand(planes.shape[1], -1, -1, -1)
        planes = F.conv2d(planes, weight, groups=planes.shape[1])
    return planes.view(*x.shape[:-2], *planes.shape[-2:])
