"""A function over float vectors in LLVM's intermediate code, and its way to machine code of this processor."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from llvmlite import binding, ir

FLOAT, INT = ir.FloatType(), ir.IntType(64)
_BITS = ir.IntType(32)
# 2^f for f in [-1/2, 1/2], highest power first: relative error 2e-9, below float32's own.
_EXP2 = (1.53458116e-4, 1.33999312e-3, 9.61848896e-3, 5.55032878e-2, 2.40226469e-1, 6.93147206e-1, 1.0)


class Code:
    """One function being written, of pointers and then integers. The values it handles are LLVM's."""

    def __init__(self, name: str, pointers: int, integers: int) -> None:
        self.module = ir.Module(name=name)
        kind = ir.FunctionType(ir.VoidType(), [ir.PointerType()] * pointers + [INT] * integers)
        self.function = ir.Function(self.module, kind, name=name)
        for pointer in self.function.args[:pointers]:
            pointer.add_attribute("noalias")
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    def loop(
        self, stop: Any, step: int, carried: Sequence[Any], body: Callable[[Any, Sequence[Any]], Sequence[Any]]
    ) -> list[Any]:
        """Return ``for i in range(0, stop, step)``, at least once.

        ``body`` makes of ``carried`` what the next turn gets.
        """
        builder, before = self.builder, self.builder.block
        block = self.function.append_basic_block("loop")
        builder.branch(block)
        builder.position_at_end(block)
        counter = builder.phi(INT)
        counter.add_incoming(INT(0), before)
        values = []
        for value in carried:
            phi = builder.phi(value.type)
            phi.add_incoming(value, before)
            values.append(phi)
        results = body(counter, values)
        following = builder.add(counter, INT(step))
        counter.add_incoming(following, builder.block)
        for phi, value in zip(values, results, strict=True):
            phi.add_incoming(value, builder.block)
        after = self.function.append_basic_block("after")
        builder.cbranch(builder.icmp_signed("<", following, INT(stop) if isinstance(stop, int) else stop), block, after)
        builder.position_at_end(after)
        return list(results)

    def at(self, base: Any, *terms: tuple[Any, Any] | int) -> Any:
        """Return a pointer to the float that lies the sum of ``terms``, numbers or (value, factor), behind ``base``."""
        index = INT(sum(term for term in terms if isinstance(term, int)))
        for term in terms:
            if not isinstance(term, int):
                value, factor = term
                index = self.builder.add(
                    index, self.builder.mul(value, INT(factor) if isinstance(factor, int) else factor)
                )
        return self.builder.gep(base, [index], source_etype=FLOAT)

    def load(self, pointer: Any, kind: Any = FLOAT) -> Any:
        """Return a float or a vector, wherever it lies."""
        return self.builder.load(pointer, typ=kind, align=4)

    def store(self, value: Any, pointer: Any) -> None:
        """Do the opposite of ``load``."""
        self.builder.store(value, pointer, align=4)

    def spread(self, scalar: Any, kind: ir.VectorType) -> Any:
        """Return a vector of one value, or number."""
        if isinstance(scalar, float):
            return kind([scalar] * kind.count)
        first = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _BITS(0))
        return self.builder.shuffle_vector(first, first, _bits(kind)([0] * kind.count))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c, rounded once."""
        return self._call("fma", a, b, c)

    def larger(self, a: Any, b: Any) -> Any:
        """Return the larger of each pair."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def total(self, vectors: Sequence[Any]) -> Any:
        """Return the sum of all their floats, in pairs."""
        return self._of_all(vectors, self.builder.fadd)

    def largest(self, vectors: Sequence[Any]) -> Any:
        """Return the largest of all their floats."""
        return self._of_all(vectors, self.larger)

    def _of_all(self, vectors: Sequence[Any], two: Callable[[Any, Any], Any]) -> Any:
        left = list(vectors)
        while len(left) > 1:
            left = [two(*left[i : i + 2]) if i + 1 < len(left) else left[i] for i in range(0, len(left), 2)]
        total, width = left[0], left[0].type.count
        while half := width // 2:
            parts = [_bits(ir.VectorType(FLOAT, half))(list(range(start, start + half))) for start in (0, half)]
            total = two(*(self.builder.shuffle_vector(total, total, part) for part in parts))
            width = half
        return self.builder.extract_element(total, _BITS(0))

    def root(self, x: Any) -> Any:
        """Return the square root of a float."""
        return self._call("sqrt", x)

    def exp2(self, x: Any) -> Any:
        """Return 2^x of each x up to 0; next to nothing below -100."""
        kind = x.type
        x = self.larger(x, self.spread(-100.0, kind))
        whole = self._call("rint", x)
        rest = self.builder.fsub(x, whole)
        power = self.spread(_EXP2[0], kind)
        for coefficient in _EXP2[1:]:
            power = self.fma(power, rest, self.spread(coefficient, kind))
        exponent = self.builder.shl(self.builder.fptosi(whole, _bits(kind)), _bits(kind)([23] * kind.count))
        return self.builder.bitcast(self.builder.add(self.builder.bitcast(power, _bits(kind)), exponent), kind)

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """Transpose vectors, as many as each has floats, to those of the columns."""
        rows, kind = list(rows), rows[0].type
        width = half = kind.count
        while half := half // 2:  # swap the blocks beside the diagonal, ever smaller ones
            low = _bits(kind)([width + i - half if i & half else i for i in range(width)])
            high = _bits(kind)([width + i if i & half else i + half for i in range(width)])
            for i in range(width):
                if not i & half:
                    pair = rows[i], rows[i + half]
                    rows[i], rows[i + half] = (self.builder.shuffle_vector(*pair, mask) for mask in (low, high))
        return rows

    def compiled(self) -> Callable[..., None]:
        """Return the function, which takes addresses and integers and leaves other Python threads free meanwhile."""
        self.builder.ret_void()
        engine = binding.create_mcjit_compiler(binding.parse_assembly(str(self.module)), _machine())
        engine.finalize_object()
        kinds = [ctypes.c_void_p if isinstance(a.type, ir.PointerType) else ctypes.c_int64 for a in self.function.args]
        function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(self.function.name))
        function.engine = engine  # type: ignore[attr-defined]  # holds the machine code
        return function

    def _call(self, name: str, *arguments: Any) -> Any:
        kind = arguments[0].type
        name = f"llvm.{name}.{f'v{kind.count}' if isinstance(kind, ir.VectorType) else ''}f32"
        signature = ir.FunctionType(kind, [kind] * len(arguments))
        function = self.module.globals.get(name) or ir.Function(self.module, signature, name=name)
        return self.builder.call(function, arguments)


class StoredCode(Code):
    """One function over vectors of ``lanes`` numbers, which memory holds in float32 or in bfloat16."""

    def __init__(self, name: str, lanes: int, bfloat16: bool, pointers: int, integers: int) -> None:
        super().__init__(name, pointers, integers)
        self.vector = ir.VectorType(FLOAT, lanes)
        self._stored = ir.VectorType(ir.IntType(16), lanes) if bfloat16 else self.vector
        self._bytes = 2 if bfloat16 else 4

    def read(self, base: Any, index: Any) -> Any:
        """Return the vector that begins at the number ``index`` behind ``base``."""
        pointer = self.builder.gep(base, [index], source_etype=self._stored.element)
        value = self.builder.load(pointer, typ=self._stored, align=self._bytes)
        if self._stored is self.vector:
            return value
        wide = self.builder.shl(self.builder.zext(value, _bits(self.vector)), self._every(16))
        return self.builder.bitcast(wide, self.vector)

    def write(self, value: Any, base: Any, index: Any) -> None:
        """Do the opposite of ``read``, rounding to the nearest, of two to the even one."""
        builder = self.builder
        if self._stored is not self.vector:
            bits = builder.bitcast(value, _bits(self.vector))
            last = builder.and_(builder.lshr(bits, self._every(16)), self._every(1))
            rounded = builder.add(bits, builder.add(last, self._every(0x7FFF)))
            nan = builder.fcmp_unordered("uno", value, value)  # rounding may carry one beyond all numbers
            value = builder.trunc(builder.lshr(builder.select(nan, bits, rounded), self._every(16)), self._stored)
        pointer = builder.gep(base, [index], source_etype=self._stored.element)
        builder.store(value, pointer, align=self._bytes)

    def _every(self, value: int) -> Any:
        return _bits(self.vector)([value] * self.vector.count)


def _bits(kind: ir.VectorType) -> ir.VectorType:
    return ir.VectorType(_BITS, kind.count)


@cache
def vector_registers() -> tuple[int, int]:
    """Return the floats in a vector register of this processor, and how many registers it has.

    None without fused multiply-add.
    """
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 16, 32
    if features.get("avx2") and features.get("fma"):
        return 8, 16
    return (4, 32) if features.get("neon") else (0, 0)


def _machine() -> binding.TargetMachine:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    features = binding.get_host_cpu_features().flatten()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(binding.get_host_cpu_name(), features, opt=3, jit=True)
