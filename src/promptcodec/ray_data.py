"""Pictures in Ray Data pipelines: a reader of .ptc files and shards, and functions for ``Dataset.map_batches``.

>>> from promptcodec.ray_data import Decode, Encode, read_ptc, read_ptc_shards
>>> read_ptc("s3://bucket/coded/", crop_size=256)                        # columns image (H, W, 3) and path
>>> read_ptc_shards(["shard-000.tar", "shard-001.tar"], preview=True)     # image beside what else the shards hold
>>> ray.data.read_images("photos/", include_paths=True).map_batches(Encode(quality=40)).write_parquet("coded/")
>>> ray.data.read_parquet("coded/").map_batches(Decode(crop_size=256), batch_size=16)

Needs the extra ``ray``. A worker loads the model once, and uses the threads that Ray gives it: one for each CPU that a
task asks for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from promptcodec.api import encode
from promptcodec.array_reader import ArrayReader, Draw
from promptcodec.errors import PromptcodecError, UsageError
from promptcodec.system.extras import import_extra

data = import_extra("ray.data", "ray", "ray")
blocks = import_extra("ray.data.block", "ray", "ray")
datasource = import_extra("ray.data.datasource", "ray", "ray")

Batch = Mapping[str, Any]
Errors = Literal["raise", "record"]
ERROR = "error"
"""The column in which ``errors="record"`` says what went wrong with a row; "" for nothing."""


class Encode:
    """A function for ``map_batches`` that adds a column of .ptc files to batches of NumPy arrays.

    ``image``: the column of pictures, arrays (H, W, 3), (H, W, 4) or (H, W) of uint8, or the bytes of picture files.
    ``into``: the column of .ptc files, bytes. ``keep_image``: whether the pictures stay in the batch. ``errors``:
    whether a picture that cannot be encoded raises, or leaves None in its row and a sentence in the column ``error``.
    ``settings``: keywords of ``promptcodec.encode``, such as ``quality`` and ``device``.
    """

    def __init__(
        self, image: str = "image", into: str = "ptc", *, keep_image: bool = False, errors: Errors = "raise",
        **settings: Any,
    ) -> None:  # fmt: skip
        self.column, self.into, self.keep, self.errors = image, into, keep_image, _checked(errors)
        self.settings = settings

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Encode a batch. Raises as ``promptcodec.encode`` does."""
        return _mapped(batch, self.column, self.into, self.keep, self.errors, self._encoded)

    def _encoded(self, value: Any) -> bytes:
        return encode(bytes(value) if isinstance(value, bytes) else np.asarray(value), **self.settings)


class Decode:
    """A function for ``map_batches`` that adds a column of pictures to batches of NumPy arrays.

    ``ptc``: the column of .ptc files, bytes. ``into``: the column of pictures, uint8 (H, W, 3), with ``alpha`` (H, W,
    4). ``keep_ptc``: whether the files stay in the batch. ``errors``: as of ``Encode``. ``seed``: random crops are a
    function of it and of the file; each epoch should have another one. ``reader``: keywords of ``ArrayReader``.
    """

    def __init__(
        self, ptc: str = "ptc", into: str = "image", *, keep_ptc: bool = False, errors: Errors = "raise",
        seed: int = 0, **reader: Any,
    ) -> None:  # fmt: skip
        self.column, self.into, self.keep, self.errors = ptc, into, keep_ptc, _checked(errors)
        self.seed, self.reader = seed, ArrayReader(**reader)

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Decode a batch. Raises as ``ArrayReader.read`` does."""
        return _mapped(batch, self.column, self.into, self.keep, self.errors, self._decoded)

    def _decoded(self, value: Any) -> NDArray[np.uint8]:
        return self.reader.read(bytes(value), _drawing(self.seed, bytes(value)))


class PtcDatasource(datasource.FileBasedDatasource):  # type: ignore[misc,name-defined]
    """The datasource of ``read_ptc``, which opens files so that a crop reads its tiles alone."""

    def __init__(self, paths: str | Sequence[str], reader: ArrayReader, seed: int, **options: Any) -> None:
        super().__init__(paths, file_extensions=["ptc"], **options)
        self._reader, self._seed = reader, seed

    def _open_input_source(self, filesystem: Any, path: str, **options: Any) -> Any:
        return filesystem.open_input_file(path)

    def _read_stream(self, file: Any, path: str) -> Iterator[Any]:
        try:
            pixels = self._reader.read(cast("BinaryIO", file), _drawing(self._seed, path.encode()))
        except PromptcodecError as error:
            raise type(error)(f"{path}: {error}") from error
        yield blocks.BlockAccessor.batch_to_block({"image": pixels[None]})


def read_ptc(
    paths: str | Sequence[str], *, include_paths: bool = True, shuffle: Literal["files"] | None = None, seed: int = 0,
    filesystem: Any = None, read_options: Mapping[str, Any] | None = None, **reader: Any,
) -> Any:  # fmt: skip
    """Read .ptc files into a ``ray.data.Dataset``: columns ``image``, uint8 (H, W, 3), and ``path``.

    ``paths``: files and folders, local or of any file system that pyarrow knows (``s3://``, ``gs://``), or of
    ``filesystem``. ``seed`` decides random crops, with the path. ``read_options``: keywords of
    ``ray.data.read_datasource``, such as ``concurrency``. ``reader``: keywords of ``ArrayReader``.
    """
    several = [paths] if isinstance(paths, str) else list(paths)
    source = PtcDatasource(
        several, ArrayReader(**reader), seed, include_paths=include_paths, shuffle=shuffle, filesystem=filesystem
    )
    return data.read_datasource(source, **(read_options or {}))


def read_ptc_shards(
    paths: str | Sequence[str], *, member: str = "ptc", batch_size: int = 16, seed: int = 0, errors: Errors = "raise",
    read_options: Mapping[str, Any] | None = None, map_options: Mapping[str, Any] | None = None, **reader: Any,
) -> Any:  # fmt: skip
    """Read the pictures in tar shards (WebDataset's layout) into a ``ray.data.Dataset``: a row for each name in them.

    Columns: ``image``, uint8 (H, W, 3); ``__key__``; and the bytes of every other member by its extension, such as
    ``txt``. ``member``: the extension of the .ptc files. ``read_options``: keywords of ``ray.data.read_webdataset``,
    ``map_options`` of ``map_batches``. ``seed``, ``errors`` and ``reader``: as of ``Decode``.
    """
    several = [paths] if isinstance(paths, str) else list(paths)
    rows = data.read_webdataset(several, decoder=None, **(read_options or {}))
    function = Decode(member, errors=errors, seed=seed, **reader)
    return rows.map_batches(function, batch_format="numpy", batch_size=batch_size, **(map_options or {}))


def _mapped(
    batch: Batch, column: str, into: str, keep: bool, errors: Errors, function: Callable[[Any], Any]
) -> dict[str, Any]:
    if column not in batch:
        raise UsageError(f"the batch has no column {column!r}, but {', '.join(map(repr, batch)) or 'none'}")
    results: list[Any] = []
    sentences: list[str] = []
    for value in batch[column]:
        try:
            if value is None:
                raise UsageError(f"the column {column!r} is empty here")
            results.append(function(value))
            sentences.append("")
        except PromptcodecError as error:
            if errors == "raise":
                raise
            results.append(None)
            sentences.append(str(error))
    rest = {name: values for name, values in batch.items() if keep or name != column}
    rest[into] = _column(results)
    return rest | {ERROR: np.array(sentences, dtype=object)} if errors == "record" else rest


def _column(values: list[Any]) -> NDArray[Any]:
    """One array of arrays of one shape, else an array of objects."""
    if len({value.shape if isinstance(value, np.ndarray) else None for value in values}) == 1 and isinstance(
        values[0], np.ndarray
    ):
        return np.stack(values)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def _checked(errors: str) -> Errors:
    if errors not in ("raise", "record"):
        raise UsageError(f'errors is {errors!r}, expected "raise" or "record"')
    return cast("Errors", errors)


def _drawing(seed: int, key: bytes) -> Draw:
    """Random integers that are a function of the seed and the file, wherever and whenever it is decoded."""
    generator = np.random.default_rng([seed, zlib.crc32(key)])
    return lambda count: int(generator.integers(count))
