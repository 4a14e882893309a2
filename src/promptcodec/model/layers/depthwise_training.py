"""Depthwise convolution with gradients on CPUs: torch's gradient of its weights takes ten times the convolution."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from promptcodec.model.kernels.optional import kernels_or_none
from promptcodec.model.kernels.workers import each, is_torch_alone


def learning_depthwise(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` of a depthwise convolution that learns on the CPU; x (B, C, H, W).

    By the compiled kernel in float32 with channels last, where there is one.
    """
    if (
        x.dtype == torch.float32
        and x.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
        and not is_torch_alone()
        and _weight_gradient(conv.weight.shape[-1], conv.weight.shape[0]) is not None
    ):
        return _Depthwise.apply(x, conv.weight, conv.bias)  # type: ignore[no-any-return]
    return F.conv2d(x, conv.weight, conv.bias, 1, conv.padding, 1, conv.groups)


class _Depthwise(torch.autograd.Function):
    """Convolve x (B, C, H, W) with weights (C, 1, K, K) and a bias (C,) or none, in its size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return F.conv2d(x, weight, bias, 1, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        x, weight = ctx.saved_tensors
        half = weight.shape[-1] // 2
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        into = None
        if ctx.needs_input_grad[0]:
            into = F.conv2d(gradient, weight.flip(2, 3), None, 1, half, 1, len(weight))
        return into, _gradient_of_weight(x, gradient, weight.shape[-1]), gradient.sum((0, 2, 3)) if ctx.biased else None


def _gradient_of_weight(x: Tensor, gradient: Tensor, kernel: int) -> Tensor:
    """Return the gradient (C, 1, K, K) from input and gradient of the output (B, C, H, W), channels last."""
    samples, channels, height, width = x.shape
    compiled = _weight_gradient(kernel, channels)
    assert compiled is not None
    accumulate, lanes = compiled
    half = kernel // 2
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, half, half, half, half)).contiguous()
    seen = gradient.permute(0, 2, 3, 1).contiguous()
    taps = x.new_zeros(kernel, kernel, channels)

    def some_channels(part: int) -> None:
        addresses = (tensor.data_ptr() + part * lanes * tensor.element_size() for tensor in (padded, seen, taps))
        accumulate(*addresses, samples, height, width, channels)

    each(channels // lanes, some_channels)
    return taps.permute(2, 0, 1)[:, None].contiguous()


@cache
def _weight_gradient(kernel: int, channels: int) -> tuple[Callable[..., None], int] | None:
    """Return the kernel and the channels that a call takes; None where there is none for so many."""
    compiled = _compiled(kernel)
    return compiled if compiled is not None and channels % compiled[1] == 0 else None


@cache
def _compiled(kernel: int) -> tuple[Callable[..., None], int] | None:
    def compiled() -> tuple[Callable[..., None], int] | None:
        from promptcodec.model.kernels.compiled.depthwise import weight_gradient

        return weight_gradient(kernel)

    return kernels_or_none(compiled, "the training of depthwise convolutions")
