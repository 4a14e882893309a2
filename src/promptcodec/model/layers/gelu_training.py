"""GELU with gradients on CPUs, plain and gated: torch's gradient takes several times the bandwidth of memory."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from promptcodec.model.kernels.optional import kernels_or_none
from promptcodec.model.kernels.workers import each, is_torch_alone

if TYPE_CHECKING:
    from promptcodec.model.kernels.compiled.gelu import GeluKernels


def learning_gelu(x: Tensor) -> Tensor:
    """Return gelu(x), exact (erf), whose gradient is compiled where x wants one and there are kernels."""
    kernels = _fitting(x)
    if kernels is None or x.numel() % kernels.lanes:
        return F.gelu(x)
    return _Gelu.apply(x)  # type: ignore[no-any-return]


def learning_gated_gelu(h: Tensor) -> Tensor:
    """Return gelu(a) b, of h (..., 2 C) with the halves a and b, as ``learning_gelu``."""
    kernels = _fitting(h)
    if kernels is None or h.shape[-1] % (2 * kernels.lanes):
        a, b = h.chunk(2, -1)
        return F.gelu(a) * b
    return _GatedGelu.apply(h)  # type: ignore[no-any-return]


def _fitting(x: Tensor) -> GeluKernels | None:
    """Return the kernels for x, where they help: with gradients, on the CPU."""
    if x.device.type != "cpu" or not (torch.is_grad_enabled() and x.requires_grad):
        return None
    if torch.compiler.is_compiling() or is_torch_alone() or not (x.is_contiguous() and x.numel()):
        return None
    return _kernels(x.dtype)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient, out, kernels = gradient.contiguous(), torch.empty_like(x), _kernels(x.dtype)
        assert kernels is not None

        def some(first: int, count: int) -> None:
            kernels.gradient(*(_from(t, first * kernels.lanes) for t in (x, gradient, out)), count * kernels.lanes)

        _share(x.numel() // kernels.lanes, some)
        return out


class _GatedGelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor) -> Tensor:
        ctx.save_for_backward(h)
        hidden, kernels = h.shape[-1] // 2, _kernels(h.dtype)
        assert kernels is not None
        out = h.new_empty(*h.shape[:-1], hidden)

        def some(first: int, count: int) -> None:
            kernels.gated(_from(h, 2 * first * hidden), _from(out, first * hidden), count, hidden)

        _share(out.numel() // hidden, some)
        return out

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        hidden, kernels = h.shape[-1] // 2, _kernels(h.dtype)
        assert kernels is not None
        gradient, out = gradient.contiguous(), torch.empty_like(h)

        def some(first: int, count: int) -> None:
            inner, wide = first * hidden, 2 * first * hidden
            kernels.gated_gradient(_from(h, wide), _from(gradient, inner), _from(out, wide), count, hidden)

        _share(gradient.numel() // hidden, some)
        return out


def _from(tensor: Tensor, index: int) -> int:
    """Return the address of a number of a contiguous tensor."""
    return tensor.data_ptr() + index * tensor.element_size()


def _share(count: int, some: Any) -> None:
    """Call ``some(first, count)`` for equal parts of ``count``, one for each of torch's threads."""
    parts = min(torch.get_num_threads(), count)
    bounds = [count * i // parts for i in range(parts + 1)]
    each(parts, lambda i: some(bounds[i], bounds[i + 1] - bounds[i]))


@cache
def _kernels(dtype: torch.dtype) -> GeluKernels | None:
    if dtype not in (torch.float32, torch.bfloat16):
        return None

    def compiled() -> GeluKernels | None:
        from promptcodec.model.kernels.compiled.gelu import gelu_kernels

        return gelu_kernels(dtype == torch.bfloat16)

    return kernels_or_none(compiled, "GELU in training")
