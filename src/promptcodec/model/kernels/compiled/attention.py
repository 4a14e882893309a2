"""Window attention in one pass over queries, keys and values, as the linear layer before it lays them out.

The scores of one window and head stay in the first-level cache; of all else, only the queries of one head are copied.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from promptcodec.model.kernels.compiled.code import FLOAT, INT, Code, vector_registers

LOG2_E = 1.0 / math.log(2.0)
WIDEST = 128  # channels of a head: the code grows with them


def attention(tokens: int, prompts: int, width: int) -> Callable[..., None] | None:
    """Return the attention of heads of ``width`` channels in windows of ``tokens`` tokens; None where no kernel can be
    made.

    ``prompts`` further keys and values come first. Arguments are addresses of float32 (int64 for ``which``): ``qkv``
    (windows, tokens, 3, heads, width); ``extra`` (windows, 2, heads, prompts, width), the prompts' keys and values;
    ``bias`` (heads, tokens, queries) and ``masks`` (masks, prompts + tokens, queries), what is added to the logits,
    times log2 e and finite; ``which`` (windows), the mask of each window; ``out`` (windows, tokens, heads, width);
    ``room``, as many floats as ``room`` says. Then come numbers: of windows, of heads, and whether each window has
    prompts of its own, 1 or 0.
    """
    lanes, registers = vector_registers()
    while lanes > 4 and tokens % lanes:
        lanes //= 2
    if lanes < 4 or tokens % lanes or width % 4:
        return None
    if lanes > 2 * width or width > WIDEST:  # the former: queries would be read past their keys
        return None
    return _Attention(tokens, prompts, width, lanes, registers).compiled()


def room(tokens: int, prompts: int, width: int) -> int:
    """Return the floats of working memory."""
    return tokens * (width + prompts + tokens + 2)


class _Attention:
    """Writes the kernel. Blocks of results are as large as the registers hold."""

    def __init__(self, tokens: int, prompts: int, width: int, lanes: int, registers: int) -> None:
        self.tokens, self.prompts, self.width = tokens, prompts, width
        self.vector = ir.VectorType(FLOAT, lanes)
        count = next(n for n in (4, 2, 1) if tokens % (n * lanes) == 0)
        self.columns = range(0, count * lanes, lanes)  # of queries, vectors at once
        self.most_keys = next(n for n in (4, 2, 1) if (n + 1) * count < registers)
        self.chunk = next(n for n in (8, 6, 4) if width % n == 0)  # channels of a key in one turn of the loop
        self.parts = _parts(width, lanes)
        self.queries = next(n for n in (16, 8, 4, 2, 1) if tokens % n == 0 and (n + 1) * len(self.parts) < registers)
        self.code = code = Code("attention", 7, 3)
        *pointers, self.windows, self.heads, self.prompt_stride = code.function.args
        self.qkv, self.extra, self.bias, self.masks, self.which, self.out, room = pointers
        self.channels = code.builder.mul(self.heads, INT(width))
        self.row = code.builder.mul(self.channels, INT(3))
        keys = prompts + tokens
        self.query, self.scores = room, code.at(room, tokens * width)
        self.most, self.shares = (code.at(room, tokens * (width + keys + i)) for i in (0, 1))

    def compiled(self) -> Callable[..., None]:
        self.code.loop(self.windows, 1, [], self._window)
        return self.code.compiled()

    def _window(self, window: Any, _: Sequence[Any]) -> Sequence[Any]:
        code, builder = self.code, self.code.builder
        which = builder.load(builder.gep(self.which, [window], source_etype=window.type), typ=window.type)
        mask = code.at(self.masks, (which, self.tokens * (self.prompts + self.tokens)))
        first = builder.mul(window, INT(self.tokens))
        source, target = code.at(self.qkv, (first, self.row)), code.at(self.out, (first, self.channels))
        extra = code.at(
            self.extra, (builder.mul(window, self.prompt_stride), builder.mul(self.channels, INT(2 * self.prompts)))
        )

        def head(number: Any, _: Sequence[Any]) -> Sequence[Any]:
            query, key, value = (code.at(source, (number, self.width), (self.channels, i)) for i in range(3))
            place = (number, self.prompts * self.width)
            more = [code.at(extra, place, (self.channels, i * self.prompts)) for i in range(2)]
            self._transpose(query)
            if self.prompts:
                self._score(more[0], INT(self.width), self.prompts, [mask], self.scores)
            offset = self.prompts * self.tokens
            bias = code.at(self.bias, (number, self.tokens**2))
            self._score(key, self.row, self.tokens, [bias, code.at(mask, offset)], code.at(self.scores, offset))
            self._exponentiate()
            self._sum(more[1], value, code.at(target, (number, self.width)))
            return []

        return code.loop(self.heads, 1, [], head)

    def _transpose(self, queries: Any) -> None:
        """Transpose the queries of one head to (width, tokens), scaled; nothing is the largest logit yet."""
        code, lanes = self.code, self.vector.count
        scale = code.spread(self.width**-0.5 * LOG2_E, self.vector)

        def block(first: Any, _: Sequence[Any]) -> Sequence[Any]:
            for part in range(0, self.width, lanes):  # the last may read into the keys that follow
                rows = [code.builder.add(first, INT(i)) for i in range(lanes)]
                at = [code.at(queries, (row, self.row), part) for row in rows]
                columns = code.transposed([code.load(pointer, self.vector) for pointer in at])
                for i, column in enumerate(columns[: self.width - part]):
                    place = code.at(self.query, (first, 1), (part + i) * self.tokens)
                    code.store(code.builder.fmul(column, scale), place)
            code.store(code.spread(-3e38, self.vector), code.at(self.most, (first, 1)))
            return []

        code.loop(self.tokens, lanes, [], block)

    def _score(self, keys: Any, row: Any, count: int, added: Sequence[Any], scores: Any) -> None:
        """Compute the logits to base 2, (count, queries), of keys that lie ``row`` floats apart.

        The largest of each query.
        """
        code = self.code
        together = next(n for n in (4, 2, 1) if n <= self.most_keys and count % n == 0)
        places = [(k, column) for k in range(together) for column in self.columns]

        def block(key: Any, query: Any) -> Sequence[Any]:
            def at(base: Any, k: int, column: int) -> Any:
                return code.at(base, (key, self.tokens), (query, 1), k * self.tokens + column)

            rows = [code.at(keys, (code.builder.add(key, INT(k)), row)) for k in range(together)]

            def channels(first: Any, sums: Sequence[Any]) -> Sequence[Any]:
                totals = dict(zip(places, sums, strict=True))
                for d in range(self.chunk):
                    line = code.at(self.query, (first, self.tokens), (query, 1), d * self.tokens)
                    line_parts = {column: code.load(code.at(line, column), self.vector) for column in self.columns}
                    for k in range(together):
                        one = code.spread(code.load(code.at(rows[k], (first, 1), d)), self.vector)
                        totals |= {
                            (k, column): code.fma(one, line_parts[column], totals[k, column]) for column in self.columns
                        }
                return list(totals.values())

            begin = []
            for place in places:
                terms = [code.load(at(base, *place), self.vector) for base in added]
                begin.append(terms[0] if len(terms) == 1 else code.builder.fadd(*terms))
            sums = dict(zip(places, code.loop(self.width, self.chunk, begin, channels), strict=True))
            for column in self.columns:
                pointer = code.at(self.most, (query, 1), column)
                most = code.load(pointer, self.vector)
                for k in range(together):
                    most = code.larger(sums[k, column], most)
                code.store(most, pointer)
            for place, value in sums.items():
                code.store(value, at(scores, *place))
            return []

        def key_block(key: Any, _: Sequence[Any]) -> Sequence[Any]:
            return code.loop(self.tokens, len(self.columns) * self.vector.count, [], lambda query, _: block(key, query))

        code.loop(count, together, [], key_block)

    def _exponentiate(self) -> None:
        """Turn logits into weights, in place, and one over the sum of each query's."""
        code = self.code

        def block(query: Any, _: Sequence[Any]) -> Sequence[Any]:
            most = [code.load(code.at(self.most, (query, 1), column), self.vector) for column in self.columns]

            def key(number: Any, sums: Sequence[Any]) -> Sequence[Any]:
                totals = []
                for column, top, total in zip(self.columns, most, sums, strict=True):
                    pointer = code.at(self.scores, (number, self.tokens), (query, 1), column)
                    weight = code.exp2(code.builder.fsub(code.load(pointer, self.vector), top))
                    code.store(weight, pointer)
                    totals.append(code.builder.fadd(total, weight))
                return totals

            sums = code.loop(self.prompts + self.tokens, 1, [code.spread(0.0, self.vector)] * len(self.columns), key)
            for column, total in zip(self.columns, sums, strict=True):
                share = code.builder.fdiv(code.spread(1.0, self.vector), total)
                code.store(share, code.at(self.shares, (query, 1), column))
            return []

        code.loop(self.tokens, len(self.columns) * self.vector.count, [], block)

    def _sum(self, prompts: Any, values: Any, target: Any) -> None:
        """Compute the weighted means of the values, (queries, width)."""
        code = self.code
        places = [(q, part) for q in range(self.queries) for part in self.parts]

        def block(query: Any, _: Sequence[Any]) -> Sequence[Any]:
            def added(source: Any, row: Any, scores: Any, count: int, sums: Sequence[Any]) -> Sequence[Any]:
                def key(number: Any, sums: Sequence[Any]) -> Sequence[Any]:
                    value_parts = {p: code.load(code.at(source, (number, row), p), kind) for p, kind in self.parts}
                    totals = []
                    for (q, (p, kind)), total in zip(places, sums, strict=True):
                        weight = code.load(code.at(scores, (number, self.tokens), (query, 1), q))
                        totals.append(code.fma(code.spread(weight, kind), value_parts[p], total))
                    return totals

                return code.loop(count, 1, sums, key)

            sums: Sequence[Any] = [code.spread(0.0, kind) for _, (_, kind) in places]
            if self.prompts:
                sums = added(prompts, self.width, self.scores, self.prompts, sums)
            sums = added(values, self.row, code.at(self.scores, self.prompts * self.tokens), self.tokens, sums)
            for (q, (p, kind)), total in zip(places, sums, strict=True):
                share = code.spread(code.load(code.at(self.shares, (query, 1), q)), kind)
                place = code.at(target, (code.builder.add(query, INT(q)), self.channels), p)
                code.store(code.builder.fmul(total, share), place)
            return []

        code.loop(self.tokens, self.queries, [], block)


def _parts(width: int, lanes: int) -> tuple[tuple[int, ir.VectorType], ...]:
    """Return where a row of channels splits into vectors, and of what size each is."""
    parts, start = [], 0
    while start < width:
        while lanes > width - start:
            lanes //= 2
        parts.append((start, ir.VectorType(FLOAT, lanes)))
        start += lanes
    return tuple(parts)
