"""Every float64 result on the way to a probability: watched, kept, or moved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

FACTOR = 1000  # how many times the worst deviation noise is
ROUNDING = 2.0**-53


class Intermediates(TorchDispatchMode, ABC):
    """Sees every float64 result of every operation, and may replace it."""

    def __init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if "empty" in func.__name__ or any(r.alias_info is not None for r in func._schema.returns):
            return out  # memory not yet written; views and in-place writes, whose values have been seen
        results = out if isinstance(out, (tuple, list)) else (out,)
        seen = [self._one(one, func.__name__) for one in results]
        return type(out)(seen) if isinstance(out, (tuple, list)) else seen[0]

    def _one(self, out: Any, operation: str) -> Any:
        counts = isinstance(out, Tensor) and out.dtype == torch.float64 and out.numel()
        return self.result(out, operation) if counts else out

    @abstractmethod
    def result(self, out: Tensor, operation: str) -> Tensor:
        """What goes on in place of ``out``, a result of ``operation``."""


class Seen(Intermediates):
    """Leaves them."""

    def result(self, out: Tensor, operation: str) -> Tensor:
        return out


class Record(Intermediates):
    """Keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def result(self, out: Tensor, operation: str) -> Tensor:
        self.kept.append(out.clone())
        return out


class Noise(Intermediates):
    """Moves the i-th by up to ``amplitudes[i]`` times the largest value of the same tensor.

    Whole numbers stay: they are exact. The logarithm of a vanishing scale magnifies what the scale has deviated by, far
    below the lowest bin; the scale is moved itself, so that its logarithm is moved by FACTOR roundings only.
    """

    def __init__(self, amplitudes: list[float]) -> None:
        super().__init__()
        self.amplitudes, self.place, self.logarithm = amplitudes, 0, False
        self.generator = torch.Generator().manual_seed(0)

    def result(self, out: Tensor, operation: str) -> Tensor:
        amplitude = self.amplitudes[self.place]
        self.place += 1
        if operation.startswith("log") or (self.logarithm and operation.startswith("add")):
            amplitude = FACTOR * ROUNDING
            self.logarithm = operation.startswith("log")
        finite = torch.where(torch.isfinite(out), out, 0)
        if bool((finite == finite.round()).all()):
            return out
        noise = torch.rand(out.shape, dtype=torch.float64, generator=self.generator) * 2 - 1
        return out + noise * (finite.abs().max() * amplitude)


def largest_deviation(a: Tensor, b: Tensor) -> float:
    """Of two results of one operation, as a share of the largest value in it."""
    finite = torch.isfinite(a) & torch.isfinite(b)
    a, b = torch.where(finite, a, 0), torch.where(finite, b, 0)
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-300))
