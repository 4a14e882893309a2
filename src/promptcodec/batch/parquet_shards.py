"""Parquet files with a column of pictures: its cells are coded, all other columns go through as they are.

A cell is binary, or a struct of ``bytes`` (binary) and ``path`` (text), as Hugging Face's data sets have it. A row
group is in memory at a time, and becomes a row group of the output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from promptcodec.batch.records import ShardRecord
from promptcodec.batch.settings import EvalSettings
from promptcodec.batch.shards import output_name
from promptcodec.batch.sources import open_source
from promptcodec.batch.storage import Storage
from promptcodec.batch.tally import Tally
from promptcodec.errors import SourceError, UsageError
from promptcodec.system.extras import import_extra

PREFERRED = "image"  # the column that is taken where nothing is said and several can be it


def code_parquet(tally: Tally, storage: Storage) -> ShardRecord:
    """Write a Parquet file anew with its pictures coded; whole, or not at all.

    Rows without a picture, or whose picture fails, have null there. Raises SourceError where the file is damaged,
    UsageError where no column can be that of the pictures, DestinationError, and StoppedError.
    """
    shard = tally.shard
    with _opened(shard.source) as file:
        column = picture_column(file.schema_arrow, shard.column, shard.source)
        if shard.trial:
            for group, first in _groups(file, shard.source):
                if first < shard.trial[1] and first + group.num_rows > shard.trial[0]:
                    for _ in _coded_cells(tally, group.column(column), first):
                        pass
            return tally.record("survived")

        def fill(output: BinaryIO) -> None:
            if isinstance(tally.settings, EvalSettings):
                for group, first in _groups(file, shard.source):
                    for cell in _coded_cells(tally, group.column(column), first):
                        output.write(cell["bytes"] if cell else b"")
                return
            _write(tally, file, column, output)

        output = storage.write(shard.output, fill)
    return replace(tally.record("done"), output_bytes=output.bytes, sha256=output.sha256)


def count_parquet_rows(address: str) -> int:
    """Return how many rows a Parquet file has. Raises SourceError."""
    with _opened(address) as file:
        return int(file.metadata.num_rows)


def picture_column(schema: Any, name: str, address: str) -> str:
    """Return the name of the column of pictures. Raises UsageError where there is none, or several that can be it."""
    able = [field.name for field in schema if _holds_bytes(field.type)]
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    if name:
        if name in able:
            return name
        raise UsageError(f"{address} has no column {name!r} of pictures (binary, or a struct of bytes and path); "
                         f"it has {columns}")  # fmt: skip
    if PREFERRED in able or len(able) == 1:
        return PREFERRED if PREFERRED in able else able[0]
    raise UsageError(f"{address}: say with --column which one holds the pictures; it has {columns}")


def _holds_bytes(kind: Any) -> bool:
    types = import_extra("pyarrow.types", "pyarrow", "batch")
    if types.is_struct(kind):
        return any(field.name == "bytes" and _holds_bytes(field.type) for field in kind)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _write(tally: Tally, file: Any, column: str, output: BinaryIO) -> None:
    pa, pq = (import_extra(name, "pyarrow", "batch") for name in ("pyarrow", "pyarrow.parquet"))
    schema = file.schema_arrow
    place = schema.get_field_index(column)
    writer = pq.ParquetWriter(pa.PythonFile(output, mode="w"), schema, compression=_compression(file))
    try:
        for group, first in _groups(file, tally.shard.source):
            kind = schema.field(place).type
            cells = list(_coded_cells(tally, group.column(column), first))
            if not pa.types.is_struct(kind):
                cells = [None if cell is None else cell["bytes"] for cell in cells]
            tally.carried += group.num_rows
            writer.write_table(group.set_column(place, schema.field(place), pa.array(cells, kind)), group.num_rows or 1)
        writer.close()
    except BaseException:
        with suppress(Exception):  # it would write an end to what is thrown away
            writer.close()
        raise


def _compression(file: Any) -> dict[str, str] | str:
    """That of the input by column: what is coded does not get smaller, and what was uncompressed stays so."""
    if not file.metadata.num_row_groups:
        return "snappy"
    group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    return {each.path_in_schema: each.compression.lower().replace("uncompressed", "none") for each in columns}


def _groups(file: Any, address: str) -> Iterator[tuple[Any, int]]:
    """Each row group as a table, with the number of its first row."""
    first = 0
    for number in range(file.num_row_groups):
        with _damage(address):
            group = file.read_row_group(number)
        yield group, first
        first += group.num_rows


def _coded_cells(tally: Tally, column: Any, first: int) -> Iterator[dict[str, Any] | None]:
    """The output of each cell, ``bytes`` and what else was in it; None where it has none."""
    shard, suffix = tally.shard, tally.settings.suffix
    for (index, cell), coding in tally.ahead(_cells(column, first), lambda item: _picture(tally, *item)):
        tally.check_stop()
        if not shard.wants(index):
            continue
        path = str(cell.get("path") or "")
        file = f"{shard.source} row {index}" + (f" ({path})" if path else "")
        if cell.get("bytes") is None:
            tally.fail(file, index, "the row has no picture" + (", only a path" if path else ""))
            yield None
            continue
        name = PurePosixPath(path).name or f"row {index}"
        coded = tally.code(cell["bytes"], file, index, name, coding)
        if coded is None:
            yield None
            continue
        named = {"path": output_name(path, suffix)} if path and not isinstance(tally.settings, EvalSettings) else {}
        yield cell | {"bytes": coded.data} | named


def _cells(column: Any, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, scalar in enumerate((cell for chunk in column.chunks for cell in chunk), first):
        value = scalar.as_py()
        yield index, value if isinstance(value, dict) else {"bytes": value}


def _picture(tally: Tally, index: int, cell: dict[str, Any]) -> bytes | None:
    return cell.get("bytes") if tally.tries(index) else None


@contextmanager
def _opened(address: str) -> Iterator[Any]:
    pq = import_extra("pyarrow.parquet", "pyarrow", "batch")
    with open_source(address) as source:
        with _damage(address):
            file = pq.ParquetFile(source)
        with file:
            yield file


@contextmanager
def _damage(address: str) -> Iterator[None]:
    arrow = import_extra("pyarrow", "pyarrow", "batch")
    try:
        yield
    except (arrow.ArrowException, OSError, ValueError) as error:
        text = " ".join(str(error).split())
        raise SourceError(f"{address} cannot be read as a Parquet file: {text[:200]}") from None
