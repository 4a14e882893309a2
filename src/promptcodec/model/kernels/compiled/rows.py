"""Rows of channels, gathered or scattered, added and normalised on one way through memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from promptcodec.model.kernels.compiled.code import FLOAT, INT, Code, vector_registers


def gather_norm(channels: int, eps: float) -> Callable[..., None] | None:
    """Return ``rows[i] = map[index[i]]``, and its layer norm; None where no kernel can be made.

    Arguments are addresses and the number of rows, 1 or more: ``map`` (·, channels), ``index`` (rows) of int64,
    ``rows`` (rows, channels), the norm's ``weight`` and ``bias`` (channels), ``normed`` (rows, channels).
    """
    vector = _vector(channels)
    if vector is None:
        return None
    rows = _Rows(channels, vector, pointers=6)
    source, index, target, weight, bias, normed = rows.pointers

    def row(number: Any) -> None:
        values = rows.load(source, rows.indexed(index, number))
        rows.store(values, target, number)
        rows.store(rows.normalised(values, weight, bias, eps), normed, number)

    return rows.compiled(row)


def add_norm(channels: int, eps: float) -> Callable[..., None] | None:
    """Return ``rows[i] += branch[i]``, and its layer norm.

    As ``gather_norm``, of ``rows, branch, weight, bias, normed``.
    """
    vector = _vector(channels)
    if vector is None:
        return None
    rows = _Rows(channels, vector, pointers=5)
    target, branch, weight, bias, normed = rows.pointers

    def row(number: Any) -> None:
        values = rows.sums(rows.load(target, number), rows.load(branch, number))
        rows.store(values, target, number)
        rows.store(rows.normalised(values, weight, bias, eps), normed, number)

    return rows.compiled(row)


def scatter_sum(channels: int) -> Callable[..., None] | None:
    """Return ``map[index[i]] = rows[i] + branch[i]`` but where ``index`` is -1; of ``rows, branch, index, map``."""
    vector = _vector(channels)
    if vector is None:
        return None
    rows = _Rows(channels, vector, pointers=4)
    source, branch, index, target = rows.pointers

    def row(number: Any) -> None:
        place, builder = rows.indexed(index, number), rows.code.builder
        with builder.if_then(builder.icmp_signed(">=", place, INT(0))):
            rows.store(rows.sums(rows.load(source, number), rows.load(branch, number)), target, place)

    return rows.compiled(row)


class _Rows:
    """Writes a kernel over rows that the registers hold."""

    def __init__(self, channels: int, vector: ir.VectorType, pointers: int) -> None:
        self.channels, self.vector = channels, vector
        self.code = Code("rows", pointers, 1)
        *self.pointers, self.count = self.code.function.args

    def compiled(self, row: Callable[[Any], None]) -> Callable[..., None]:
        def turn(number: Any, _: Sequence[Any]) -> Sequence[Any]:
            row(number)
            return []

        self.code.loop(self.count, 1, [], turn)
        return self.code.compiled()

    def indexed(self, index: Any, row: Any) -> Any:
        """Return ``index[row]``."""
        return self.code.builder.load(self.code.builder.gep(index, [row], source_etype=INT), typ=INT)

    def load(self, base: Any, row: Any) -> list[Any]:
        """Return a row as vectors."""
        return [self.code.load(pointer, self.vector) for pointer in self._at(base, row)]

    def store(self, values: Sequence[Any], base: Any, row: Any) -> None:
        """Do the opposite of ``load``."""
        for value, pointer in zip(values, self._at(base, row), strict=True):
            self.code.store(value, pointer)

    def sums(self, a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
        """Return the sums of two rows."""
        return [self.code.builder.fadd(*pair) for pair in zip(a, b, strict=True)]

    def normalised(self, values: Sequence[Any], weight: Any, bias: Any, eps: float) -> list[Any]:
        """Return the layer norm of a row."""
        code, builder = self.code, self.code.builder
        mean = builder.fmul(code.total(values), FLOAT(1 / self.channels))
        centred = [builder.fsub(value, code.spread(mean, self.vector)) for value in values]
        variance = builder.fmul(code.total([builder.fmul(value, value) for value in centred]), FLOAT(1 / self.channels))
        scale = builder.fdiv(FLOAT(1.0), code.root(builder.fadd(variance, FLOAT(eps))))
        scaled = [builder.fmul(value, code.spread(scale, self.vector)) for value in centred]
        affine = zip(scaled, self.load(weight, INT(0)), self.load(bias, INT(0)), strict=True)
        return [code.fma(*three) for three in affine]

    def _at(self, base: Any, row: Any) -> list[Any]:
        return [self.code.at(base, (row, self.channels), i) for i in range(0, self.channels, self.vector.count)]


def _vector(channels: int) -> ir.VectorType | None:
    lanes, _ = vector_registers()
    while lanes > 4 and channels % lanes:
        lanes //= 2
    few = lanes >= 4 and channels % lanes == 0 and channels <= 32 * lanes
    return ir.VectorType(FLOAT, lanes) if few else None
