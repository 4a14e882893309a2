"""What adapters are trained for: one function an equation of the papers.

``out`` is what ``CompressionModel.forward`` returns; x and x_hat are (B, 3, H, W) in [0, 1], x_hat not clamped. Rates
are bits per pixel, squared errors on the 0..255 scale. All losses are (B,), one a sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from promptcodec.model.rate_distortion import rate_distortion

Distance = Callable[[Tensor, Tensor], Tensor]  # of (x_hat, x), each (B, 3, H, W), to (B,)
Features = Callable[[Tensor], Sequence[Tensor]]  # of (B, 3, H, W) in [0, 1], levels of a frozen recogniser

PSNR_WEIGHT = 0.01
MS_SSIM_WEIGHT = 25.0
LPIPS_WEIGHT = 2.5
RATE_LAMBDAS = (0.0018, 0.0932)  # ends of Kao et al.'s range


def look_loss(
    out: dict[str, Any], x: Tensor, look: Tensor, rate_lambda: Tensor, distance: Distance, weight: float
) -> Tensor:
    """Compute paper 000's eq. 3 and 4: R_λ bpp + look weight d + (1 - look) 0.01 MSE.

    ``look`` (B,) in [0, 1], drawn per sample. ``rate_lambda`` (B,): the base's trade-off at its q; R_λ = 0.01 /
    rate_lambda makes look = 0 the loss that the base was trained with. ``distance``: LPIPS with weight 2.5, or
    1 - MS-SSIM with 25.
    """
    measured = rate_distortion(out, x)
    psnr = PSNR_WEIGHT * measured.mse
    other = weight * distance(out["x_hat"], x)
    rate = PSNR_WEIGHT / rate_lambda * measured.bpp
    return rate + look * other + (1 - look) * psnr


def single_objective_loss(
    out: dict[str, Any], x: Tensor, rate_lambda: Tensor, distance: Distance, weight: float, stabiliser: float = 0.0
) -> Tensor:
    """Compute paper 000's baseline for one perceptual metric alone: R_λ bpp + weight d + stabiliser 0.01 MSE.

    The paper has the last term with LPIPS alone, against instability, and gives it no weight; recipes have a tenth of
    its weight at look = 0.
    """
    measured = rate_distortion(out, x)
    psnr = stabiliser * PSNR_WEIGHT * measured.mse
    rate = PSNR_WEIGHT / rate_lambda * measured.bpp
    return rate + weight * distance(out["x_hat"], x) + psnr


def index_to_lambda(rate: Tensor) -> Tensor:
    """Turn Kao et al.'s QIndex in [0, 1] into λ, log-spaced from 0.0018 to 0.0932."""
    low, high = map(math.log, RATE_LAMBDAS)
    return torch.exp(low + rate * (high - low))


def lambda_to_index(rate_lambda: Tensor) -> Tensor:
    """Invert ``index_to_lambda``."""
    low, high = map(math.log, RATE_LAMBDAS)
    return (rate_lambda.log() - low) / (high - low)


def region_loss(out: dict[str, Any], x: Tensor, rate_lambda: Tensor, roi: Tensor) -> Tensor:
    """Compute Kao et al.'s stage 3: λ 255² mean(roi (x - x_hat)²) + bpp; with a map of ones, their stage 2."""
    measured = rate_distortion(out, x, roi)
    return rate_lambda * measured.mse + measured.bpp


def relative_region_loss(out: dict[str, Any], x: Tensor, rate_lambda: Tensor, roi: Tensor) -> Tensor:
    """Compute ``region_loss`` with each map divided by its mean: bits move to the region, the rate stays.

    A map of Kao et al. below one asks for a lower rate as well, which on a frozen base of variable rate is the base's
    to give, and which an encoder that learns it alone does worse. Nothing is asked by a constant map, zero included.
    """
    mean = roi.mean(dim=(1, 2, 3), keepdim=True)
    return region_loss(out, x, rate_lambda, torch.where(mean > 1e-3, roi / mean.clamp(min=1e-3), 1.0))


def quality_loss(out: dict[str, Any], x: Tensor, rate_lambda: Tensor) -> Tensor:
    """Compute Song et al. 2021: 255² mean(λ (x - x_hat)²) + bpp, with a map of λ, (B, 1, H, W)."""
    measured = rate_distortion(out, x, rate_lambda)
    return measured.mse + measured.bpp


def machine_loss(
    out: dict[str, Any], x: Tensor, rate_lambda: Tensor, distance: Distance, weight: float | Tensor = 1000.0
) -> Tensor:
    """Compute paper 002's eq. 3: weight λ d + bpp, with the distance in a frozen recogniser's features.

    Of its code: 1000. X_hat is clamped before it is recognised.
    """
    return weight * rate_lambda * distance(out["x_hat"].clamp(0, 1), x) + rate_distortion(out, x).bpp


def transformed_loss(
    out: dict[str, Any],
    x: Tensor,
    rate_lambda: Tensor,
    transformed: Tensor,
    target: Tensor,
    weight: float | Tensor = 1000.0,
) -> Tensor:
    """Compute ``machine_loss`` for features ``transformed`` from ŷ without a picture between, against the recogniser's
    ``target`` of one level (channel selection, Liu et al. 2022).

    Both (B, C, h, w); the larger one is averaged to the other's size.
    """
    size = min(transformed.shape[2], target.shape[2]), min(transformed.shape[3], target.shape[3])
    transformed, target = (F.adaptive_avg_pool2d(t.float(), size) for t in (transformed, target))
    return weight * rate_lambda * (transformed - target).square().flatten(1).mean(1) + rate_distortion(out, x).bpp
