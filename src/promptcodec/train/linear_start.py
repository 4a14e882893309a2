"""Start a model from a linear codec: a block DCT in an opponent colour space, with each channel's own statistics.

At small budgets this start is worth more than any other choice: the networks begin as corrections of a codec that
already works instead of having to find one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.errors import UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy.contextual_mean import ContextualMean

UNIT = 45.0 / 255.0  # one latent unit in pixel values of [0, 1]: the high-rate step size at the centre of q


def opponent_dct(block: int) -> Tensor:
    """Return the orthonormal basis (3 * block², 3, block, block).

    2-D DCT-II of luma, blue-yellow and red-green, per frequency.
    """
    n = torch.arange(block, dtype=torch.float64)
    basis = torch.cos(math.pi / block * (n[None] + 0.5) * n[:, None]) * math.sqrt(2 / block)
    basis[0] /= math.sqrt(2)
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]], dtype=torch.float64)
    colours /= colours.norm(dim=1, keepdim=True)
    return torch.einsum("kc,uy,vx->kuvcyx", colours, basis, basis).reshape(-1, 3, block, block)


@torch.no_grad()
def linear_start(model: CompressionModel, pictures: Tensor) -> None:
    """Set the shortcuts and the statistics they imply. ``pictures``: (B, 3, H, W) crops in [0, 1], a few hundred.

    The latent's channels are the frequencies of largest variance, in falling order. The first layers of h_a and g_s are
    scaled so that every channel arrives with unit variance; means and log scales start at each channel's mean and log
    standard deviation. Raises UsageError for models without shortcuts.
    """
    analysis, synthesis = model.g_a.shortcut, model.g_s.shortcut
    if analysis is None or synthesis is None or model.config.scale != "log":
        raise UsageError(f"model {model.config.name} has no linear shortcut to start from")
    block, channels = model.config.analysis.shortcut, model.config.latent_channels
    basis = opponent_dct(block)
    y = F.conv2d(pictures.double(), basis, stride=block).transpose(0, 1).flatten(1)
    order = y.var(dim=1).argsort(descending=True)[:channels]
    mean, std = y[order].mean(dim=1) / UNIT, y[order].std(dim=1) / UNIT
    analysis.weight.copy_(basis[order] / UNIT)
    synthesis.weight.copy_(basis[order] * UNIT)
    for transform in (model.h_a, model.g_s):
        _whiten(transform.layers[0], mean, std.clamp_min(0.5))
    if isinstance(model.context, ContextualMean):
        assert model.h_s.bound is not None
        assert model.context.first.bias is not None
        model.h_s.bound.centre.copy_(std.log())
        model.context.first.bias.copy_(mean)
        return
    head = model.h_s.layers[-1]
    assert isinstance(head, nn.Conv2d)
    assert head.bias is not None
    head.bias.copy_(torch.cat([std.log(), mean]))


def _whiten(conv: nn.Module, mean: Tensor, std: Tensor) -> None:
    """Fold (y - mean) / std into a convolution's weights (borders of the picture aside, where zeros are padded)."""
    if not isinstance(conv, nn.Conv2d) or conv.bias is None:
        raise UsageError(f"the linear start wants h_a and g_s to begin with a convolution, not {type(conv).__name__}")
    conv.weight.div_(std.to(conv.weight)[None, :, None, None])
    conv.bias.sub_(torch.einsum("oikl,i->o", conv.weight, mean.to(conv.weight)))
