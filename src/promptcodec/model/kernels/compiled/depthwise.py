"""The weights' gradient of a depthwise convolution, in one pass over the picture for each few rows of the kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from promptcodec.model.kernels.compiled.code import FLOAT, INT, Code, vector_registers


def weight_gradient(kernel: int) -> tuple[Callable[..., None], int] | None:
    """Return the gradient for ``kernel`` x ``kernel`` taps, and how many channels a call takes; None where no kernel
    can be made.

    Arguments are addresses of float32: ``padded`` (B, H + kernel - 1, W + kernel - 1, C), the input; ``gradient``
    (B, H, W, C), that of the output; ``taps`` (kernel, kernel, C), to which the sums are added. All from the first of
    the call's channels on. Then come the numbers B, H, W and C, each 1 or more.
    """
    lanes, registers = vector_registers()
    rows = (registers - 2) // kernel  # of taps, whose sums stay in registers beside one value of either map
    if not lanes or not rows:
        return None
    vector = ir.VectorType(FLOAT, lanes)
    code = Code("depthwise_weight_gradient", 3, 4)
    padded, gradient, taps, samples, height, width, channels = code.function.args
    add, mul = code.builder.add, code.builder.mul
    padded_width, padded_height = add(width, INT(kernel - 1)), add(height, INT(kernel - 1))

    def of_sample(sample: Any, first: int) -> None:
        """Add up the rows of taps from ``first`` on over one sample: over all of them float32 would lose digits."""
        here = [(i, j) for i in range(first, min(first + rows, kernel)) for j in range(kernel)]

        def row(y: Any, sums: Sequence[Any]) -> Sequence[Any]:
            top = mul(add(mul(sample, padded_height), y), padded_width)  # where the taps' first row lies
            line = mul(add(mul(sample, height), y), width)
            lines = {i: add(top, mul(padded_width, INT(i))) for i, _ in here}

            def column(x: Any, sums: Sequence[Any]) -> Sequence[Any]:
                value = code.load(code.at(gradient, (add(line, x), channels)), vector)
                places = (add(add(lines[i], x), INT(j)) for i, j in here)
                seen = [code.load(code.at(padded, (place, channels)), vector) for place in places]
                return [code.fma(one, value, total) for one, total in zip(seen, sums, strict=True)]

            return code.loop(width, 1, sums, column)

        for (i, j), total in zip(here, code.loop(height, 1, [vector([0.0] * lanes)] * len(here), row), strict=True):
            place = code.at(taps, (channels, i * kernel + j))
            code.store(code.builder.fadd(code.load(place, vector), total), place)

    def all_rows(sample: Any, _: Sequence[Any]) -> Sequence[Any]:
        for first in range(0, kernel, rows):
            of_sample(sample, first)
        return []

    code.loop(samples, 1, [], all_rows)
    return code.compiled(), lanes
