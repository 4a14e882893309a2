"""Softmax of attention's scores and its gradient, each in one pass over scores that lie in the cache."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promptcodec.model.kernels.compiled.code import FLOAT, INT, StoredCode, vector_registers

_MOST = 16  # vectors of a row: the code grows with them


@dataclass(frozen=True)
class SoftmaxKernels:
    """Kernels over ``windows`` times ``rows`` rows of scores, float32 or bfloat16, with their bias in float32.

    Arguments are addresses, and then the numbers ``windows``, ``rows``, ``stride`` and ``bias_stride``: the rows of a
    window, and of its bias, 0 where all windows share one. Row r of window w is row w · stride + r of all but bias, and
    row w · bias_stride + r of bias and its gradient.

    ``softmax(scores, bias, statistics)``: scores become weights; statistics (·, 2) in float32 are what ``gradient``
    needs of each row. ``gradient(scores, gradients, bias, statistics, bias_gradient)``: scores become weights again,
    gradients of weights those of scores times 1 / sqrt(width), and the bias' are added to ``bias_gradient`` without it.
    """

    softmax: Callable[..., None]
    gradient: Callable[..., None]


def softmax_kernels(keys: int, width: int, bfloat16: bool) -> SoftmaxKernels | None:
    """Return the kernels for rows of ``keys`` scores, of heads of ``width`` channels; None where none can be made."""
    lanes, _ = vector_registers()
    if not lanes or keys % lanes or keys > _MOST * lanes:
        return None
    return SoftmaxKernels(_softmax(keys, lanes, bfloat16), _gradient(keys, width, lanes, bfloat16))


def _softmax(keys: int, lanes: int, bfloat16: bool) -> Callable[..., None]:
    code = _Rows("softmax", keys, lanes, bfloat16, pointers=3)
    scores, bias, statistics = code.pointers
    builder = code.builder

    def row(number: Any, bias_row: Any) -> None:
        exponents = code.exponents(scores, number, bias, bias_row)
        top = code.largest(exponents)
        powers = [code.exp2(builder.fsub(one, code.spread(top, code.vector))) for one in exponents]
        share = builder.fdiv(FLOAT(1.0), code.total(powers))
        code.write_row([builder.fmul(one, code.spread(share, code.vector)) for one in powers], scores, number)
        for i, value in enumerate((top, share)):
            code.store(value, code.at(statistics, (number, 2), i))

    return code.over_rows(row)


def _gradient(keys: int, width: int, lanes: int, bfloat16: bool) -> Callable[..., None]:
    code = _Rows("softmax_gradient", keys, lanes, bfloat16, pointers=5)
    scores, gradients, bias, statistics, bias_gradient = code.pointers
    builder = code.builder

    def row(number: Any, bias_row: Any) -> None:
        top, share = (code.spread(code.load(code.at(statistics, (number, 2), i)), code.vector) for i in range(2))
        exponents = code.exponents(scores, number, bias, bias_row)
        weights = [builder.fmul(code.exp2(builder.fsub(one, top)), share) for one in exponents]
        of_weights = [code.read(gradients, place) for place in code.places(number)]
        products = [builder.fmul(*pair) for pair in zip(weights, of_weights, strict=True)]
        mean = code.spread(code.total(products), code.vector)
        pairs = zip(weights, of_weights, strict=True)
        of_scores = [builder.fmul(weight, builder.fsub(one, mean)) for weight, one in pairs]
        code.write_row(weights, scores, number)
        scale = code.spread(width**-0.5, code.vector)
        code.write_row([builder.fmul(one, scale) for one in of_scores], gradients, number)
        for one, place in zip(of_scores, code.places(bias_row), strict=True):
            pointer = code.at(bias_gradient, (place, 1))
            code.store(builder.fadd(code.load(pointer, code.vector), one), pointer)

    return code.over_rows(row)


class _Rows(StoredCode):
    """A function over rows of ``keys`` scores, which the registers hold."""

    def __init__(self, name: str, keys: int, lanes: int, bfloat16: bool, pointers: int) -> None:
        super().__init__(name, lanes, bfloat16, pointers, 4)
        self._keys = keys
        *self.pointers, self._windows, self._count, self._stride, self._bias_stride = self.function.args

    def over_rows(self, row: Callable[[Any, Any], None]) -> Callable[..., None]:
        """Write ``row`` for each number of a row and that of its bias; return the function."""
        add, mul = self.builder.add, self.builder.mul

        def window(w: Any, _: Sequence[Any]) -> Sequence[Any]:
            first, bias_first = mul(w, self._stride), mul(w, self._bias_stride)

            def turn(r: Any, _: Sequence[Any]) -> Sequence[Any]:
                row(add(first, r), add(bias_first, r))
                return []

            return self.loop(self._count, 1, [], turn)

        self.loop(self._windows, 1, [], window)
        return self.compiled()

    def places(self, row: Any) -> list[Any]:
        """Return where the vectors of a row begin."""
        first = self.builder.mul(row, INT(self._keys))
        return [self.builder.add(first, INT(i)) for i in range(0, self._keys, self.vector.count)]

    def exponents(self, scores: Any, row: Any, bias: Any, bias_row: Any) -> list[Any]:
        """Return scores and bias together, times log2 e."""
        log2_e = self.spread(1 / math.log(2), self.vector)
        both = zip(self.places(row), self.places(bias_row), strict=True)
        pairs = ((self.read(scores, place), self.load(self.at(bias, (other, 1)), self.vector)) for place, other in both)
        return [self.builder.fmul(self.builder.fadd(*pair), log2_e) for pair in pairs]

    def write_row(self, values: Sequence[Any], base: Any, row: Any) -> None:
        """Write the vectors of a row."""
        for value, place in zip(values, self.places(row), strict=True):
            self.write(value, base, place)
