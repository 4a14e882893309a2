"""Window attention with gradients on CPUs, a few windows at a time, so that scores never leave the cache.

Torch's fused attention has no gradient for a trained bias on CPUs; what it falls back to writes the scores of all
windows to memory five times over. Here only each row's normaliser is kept, and backward computes the scores again
(Dao et al. 2022). Between the products one compiled kernel does what takes torch half a dozen operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from promptcodec.model.kernels.optional import kernels_or_none
from promptcodec.model.kernels.workers import each, is_torch_alone

if TYPE_CHECKING:
    from promptcodec.model.kernels.compiled.softmax import SoftmaxKernels

CHUNK = 128  # (window, head) pairs at once: their scores stay in the second-level cache


class CachedAttention(torch.autograd.Function):
    """softmax(q k^T / sqrt(d) + bias) v; arguments as ``window_attention`` takes them.

    Products are in the precision of q, sums and exponentials in float32.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        out = torch.empty(q.shape, dtype=q.dtype)
        rows = _rows(q, k, bias)
        for part in _parts(q):
            queries, keys, values = (_chunk(t[part]) for t in (q, k, v))
            weights = rows.softmax(_products(queries, keys), part)
            out[part] = torch.bmm(weights, values).view(out[part].shape)
        ctx.save_for_backward(q, k, v, bias, rows.statistics)  # not the output: the caller may write into it
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        q, k, v, bias, statistics = ctx.saved_tensors
        grads = tuple(torch.empty(t.shape, dtype=t.dtype) for t in (q, k, v))
        rows = _rows(q, k, bias, statistics)
        for part in _parts(q):
            queries, keys, values, grad_out = (_chunk(t[part]) for t in (q, k, v, grad))
            of_weights = torch.bmm(grad_out, values.transpose(1, 2))
            weights, scaled = rows.gradients(_products(queries, keys), of_weights, part)
            grad_values = torch.bmm(weights.transpose(1, 2), grad_out)
            grad_inputs = (torch.bmm(scaled, keys), torch.bmm(scaled.transpose(1, 2), queries))
            for target, value in zip(grads, (*grad_inputs, grad_values), strict=True):
                target[part] = value.view(target[part].shape)
        return *grads, rows.bias_gradient.to(bias.dtype)


class _Rows:
    """Softmax over rows of scores, and its gradient, by torch's operators; keeps what gradients need in ``statistics``.

    Scores come as q k^T / sqrt(d), (w * heads, T, K), for the windows ``part``, and may be written over.
    """

    def __init__(self, bias: Tensor, shape: torch.Size, width: int, statistics: Tensor | None) -> None:
        self._bias, self._scale = bias.float().contiguous(), width**-0.5
        self._shared = bias.shape[0] == 1
        self.statistics = self._empty_statistics(shape) if statistics is None else statistics
        self.bias_gradient = torch.zeros(bias.shape, dtype=torch.float32)

    def _empty_statistics(self, shape: torch.Size) -> Tensor:
        return torch.empty((*shape, 1), dtype=torch.float32)  # of each row its normaliser

    def softmax(self, scores: Tensor, part: slice) -> Tensor:
        """Return the weights, in the precision of the scores."""
        weights = self._biased(scores, part)
        top = weights.amax(-1, keepdim=True)
        total = weights.sub_(top).exp_().sum(-1, keepdim=True)
        normaliser = self.statistics[part]
        normaliser.copy_((top + total.log()).view(normaliser.shape))
        return weights.div_(total).to(scores.dtype)

    def gradients(self, scores: Tensor, of_weights: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Return the weights, and the gradients of q k^T from those of the weights."""
        weights = self._biased(scores, part).sub_(self.statistics[part].flatten(0, 1)).exp_()
        of_scores = of_weights.float() * weights
        of_scores.addcmul_(weights, of_scores.sum(-1, keepdim=True), value=-1)
        by_window = of_scores.view(-1, *self._bias.shape[1:])
        if self._shared:
            self.bias_gradient += by_window.sum(0)
        else:
            self.bias_gradient[part] = by_window
        return weights.to(scores.dtype), of_scores.mul_(self._scale).to(scores.dtype)

    def _biased(self, scores: Tensor, part: slice) -> Tensor:
        biased = scores.float()
        biased.view(-1, *self._bias.shape[1:]).add_(self._bias if self._shared else self._bias[part])
        return biased


class _CompiledRows(_Rows):
    """The same by compiled kernels."""

    def __init__(
        self, kernels: SoftmaxKernels, bias: Tensor, shape: torch.Size, width: int, statistics: Tensor | None
    ) -> None:
        self._kernels = kernels
        super().__init__(bias, shape, width, statistics)

    def _empty_statistics(self, shape: torch.Size) -> Tensor:
        return torch.empty((*shape, 2), dtype=torch.float32)  # its largest exponent, and one over the sum of powers

    def softmax(self, scores: Tensor, part: slice) -> Tensor:
        """Return the weights, in the place of the scores."""
        self._run(self._kernels.softmax, (scores,), (self._of_bias(self._bias, part), self.statistics[part]))
        return scores

    def gradients(self, scores: Tensor, of_weights: Tensor, part: slice) -> tuple[Tensor, Tensor]:
        """Return the weights, and the gradients of q k^T, in the place of scores and of the weights' gradients."""
        others = self._of_bias(self._bias, part), self.statistics[part], self._of_bias(self.bias_gradient, part)
        self._run(self._kernels.gradient, (scores, of_weights), others)
        return scores, of_weights

    def _of_bias(self, tensor: Tensor, part: slice) -> Tensor:
        return tensor if self._shared else tensor[part]

    def _run(self, kernel: Any, maps: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> None:
        """Call a kernel on as many threads as torch has, some rows of all windows each."""
        _, heads, queries, _ = self._bias.shape
        stride = heads * queries
        windows = maps[0].shape[0] // heads
        tensors = (*maps, *others)
        parts = min(torch.get_num_threads(), stride)
        bounds = [stride * i // parts for i in range(parts + 1)]

        def some(i: int) -> None:
            first, last = bounds[i], bounds[i + 1]
            addresses = (t.data_ptr() + first * t.shape[-1] * t.element_size() for t in tensors)
            kernel(*addresses, windows, last - first, stride, 0 if self._shared else stride)

        each(parts, some)


def _rows(q: Tensor, k: Tensor, bias: Tensor, statistics: Tensor | None = None) -> _Rows:
    """Return what computes the rows of ``statistics``, or of a new pass."""
    compiled = not is_torch_alone() if statistics is None else statistics.shape[-1] == 2
    kernels = _kernels(k.shape[2], q.shape[3], q.dtype) if compiled else None
    if kernels is None:
        return _Rows(bias, q.shape[:3], q.shape[3], statistics)
    return _CompiledRows(kernels, bias, q.shape[:3], q.shape[3], statistics)


@cache
def _kernels(keys: int, width: int, dtype: torch.dtype) -> SoftmaxKernels | None:
    def compiled() -> SoftmaxKernels | None:
        from promptcodec.model.kernels.compiled.softmax import softmax_kernels

        return softmax_kernels(keys, width, dtype == torch.bfloat16)

    return kernels_or_none(compiled, "attention in training")


def _parts(q: Tensor) -> Iterator[slice]:
    step = max(1, CHUNK // q.shape[1])
    return (slice(i, min(i + step, len(q))) for i in range(0, len(q), step))


def _chunk(tensor: Tensor) -> Tensor:
    """Return (w, heads, T, d) to (w * heads, T, d), contiguous."""
    return tensor.contiguous().flatten(0, 1)


def _products(queries: Tensor, keys: Tensor) -> Tensor:
    return torch.bmm(queries * queries.shape[-1] ** -0.5, keys.transpose(1, 2))
