"""GELU and gated GELU with their gradients, in float32 or bfloat16, in one pass over memory each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promptcodec.model.kernels.compiled.code import StoredCode, vector_registers

# erfc(x) = (a1 t + ... + a5 t^5) exp(-x^2) with t = 1 / (1 + p x) for x >= 0, to 1.5e-7 (Abramowitz and Stegun 7.1.26).
_P, _A = 0.3275911, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)


@dataclass(frozen=True)
class GeluKernels:
    """Kernels that take addresses, and then numbers, each 1 or more; ``lanes`` divides all rows.

    ``gradient(x, g, out, count)``: g gelu'(x), of count / lanes vectors. ``gated(h, out, rows, hidden)``: gelu(a) b, of
    h (rows, 2, hidden), which holds a and b. ``gated_gradient(h, g, out, rows, hidden)``: what h gets, in its shape.
    """

    lanes: int
    gradient: Callable[..., None]
    gated: Callable[..., None]
    gated_gradient: Callable[..., None]


def gelu_kernels(bfloat16: bool) -> GeluKernels | None:
    """Return the kernels over bfloat16 or float32; None where no kernel can be made."""
    lanes, _ = vector_registers()
    if not lanes:
        return None
    return GeluKernels(lanes, _gradient(lanes, bfloat16), _gated(lanes, bfloat16), _gated_gradient(lanes, bfloat16))


def _gradient(lanes: int, bfloat16: bool) -> Callable[..., None]:
    code = _Gelu("gelu_gradient", lanes, bfloat16, pointers=3, integers=1)
    x, gradient, out, count = code.function.args

    def vector(i: Any, _: Sequence[Any]) -> Sequence[Any]:
        _, slope = code.gelu(code.read(x, i))
        code.write(code.builder.fmul(code.read(gradient, i), slope), out, i)
        return []

    code.loop(count, lanes, [], vector)
    return code.compiled()


def _gated(lanes: int, bfloat16: bool) -> Callable[..., None]:
    code = _Gelu("gated_gelu", lanes, bfloat16, pointers=2, integers=2)
    h, out, rows, hidden = code.function.args

    def vector(a: Any, b: Any, i: Any) -> None:
        value, _ = code.gelu(code.read(h, a))
        code.write(code.builder.fmul(value, code.read(h, b)), out, i)

    code.over_halves(rows, hidden, vector)
    return code.compiled()


def _gated_gradient(lanes: int, bfloat16: bool) -> Callable[..., None]:
    code = _Gelu("gated_gelu_gradient", lanes, bfloat16, pointers=3, integers=2)
    h, gradient, out, rows, hidden = code.function.args

    def vector(a: Any, b: Any, i: Any) -> None:
        value, slope = code.gelu(code.read(h, a))
        after = code.read(gradient, i)
        code.write(code.builder.fmul(code.builder.fmul(after, code.read(h, b)), slope), out, a)
        code.write(code.builder.fmul(after, value), out, b)

    code.over_halves(rows, hidden, vector)
    return code.compiled()


class _Gelu(StoredCode):
    def over_halves(self, rows: Any, hidden: Any, body: Callable[[Any, Any, Any], None]) -> None:
        """Write ``body`` for each vector of (rows, hidden): where it lies in both halves of h, and in the result."""
        lanes, add, mul = self.vector.count, self.builder.add, self.builder.mul

        def row(number: Any, _: Sequence[Any]) -> Sequence[Any]:
            start = mul(number, hidden)

            def vector(i: Any, _: Sequence[Any]) -> Sequence[Any]:
                a = add(add(start, start), i)
                body(a, add(a, hidden), add(start, i))
                return []

            return self.loop(hidden, lanes, [], vector)

        self.loop(rows, 1, [], row)

    def gelu(self, x: Any) -> tuple[Any, Any]:
        """Return gelu(x) and its derivative."""
        builder, constant = self.builder, lambda value: self.spread(float(value), self.vector)
        square = builder.fmul(x, x)
        bell = self.exp2(builder.fmul(square, constant(-0.5 / math.log(2))))  # exp(-x^2 / 2)
        negative = builder.fcmp_ordered("<", x, constant(0))
        size = builder.select(negative, builder.fneg(x), x)
        t = builder.fdiv(constant(1), self.fma(size, constant(_P / math.sqrt(2)), constant(1)))
        tail = constant(_A[0] / 2)
        for coefficient in _A[1:]:
            tail = self.fma(tail, t, constant(coefficient / 2))
        tail = builder.fmul(builder.fmul(tail, t), bell)  # what of a normal distribution lies beyond |x|
        below = builder.select(negative, tail, builder.fsub(constant(1), tail))
        density = builder.fmul(bell, constant(1 / math.sqrt(2 * math.pi)))
        return builder.fmul(x, below), self.fma(x, density, below)
