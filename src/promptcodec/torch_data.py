"""Pictures for training straight from .ptc files: a dataset for PyTorch's DataLoader, and a decoder for WebDataset.

>>> from promptcodec.torch_data import PtcDataset, PtcDecoder
>>> loader = DataLoader(PtcDataset("coded/", crop_size=256), batch_size=16, num_workers=4, shuffle=True)
>>> shards = wds.WebDataset("shard-{000..127}.tar").decode(PtcDecoder(crop_size=256)).to_tuple("ptc", "txt")

The keywords are those of ``ArrayReader``: ``crop``, ``crop_size``, ``preview`` and others. Each worker process loads
the model once and decodes on one thread. Random crops are drawn with PyTorch's generator, which DataLoader seeds for
each worker and epoch.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from promptcodec.array_reader import ArrayReader
from promptcodec.errors import FormatError, PromptcodecError, UsageError

SUFFIX = ".ptc"

Source = str | os.PathLike[str]


@dataclass(frozen=True)
class PtcFile:
    """A .ptc file: one of its own, or ``size`` bytes from ``offset`` on in a tar shard, there called ``member``."""

    path: Path
    member: str = ""
    offset: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)

    def open(self) -> IO[bytes]:
        """Open it to read; no more is read from the disk than is asked for."""
        file = self.path.open("rb", buffering=0)
        return _Section(file, self.offset, self.size) if self.member else file  # type: ignore[return-value]


class PtcDataset(Dataset[Any]):
    """A map-style dataset over .ptc files: item ``i`` is picture ``i`` as uint8 (3, H, W), with ``alpha`` (4, H, W).

    ``sources``: a .ptc file, a folder (with all folders below it), a tar shard, or a list of them. ``files`` has what
    was found, in the order of the sources and of the names within each. ``transform`` is applied to each tensor.
    ``reader``: keywords of ``ArrayReader``.

    Items raise as ``ArrayReader.read`` does, with the file's name in front. The constructor raises UsageError for
    sources without a .ptc file, and FormatError for shards that cannot be read to their end.
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        transform: Callable[[Tensor], Any] | None = None,
        **reader: Any,
    ) -> None:
        several = [sources] if isinstance(sources, (str, os.PathLike)) else sources
        self.files = [file for source in several for file in _files_of(Path(source))]
        self.transform = transform
        self.reader = ArrayReader(**reader)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        file = self.files[index]
        with file.open() as stream, _naming(file):
            tensor = _decoded(self.reader, stream)
        return tensor if self.transform is None else self.transform(tensor)


class PtcDecoder:
    """A handler for ``webdataset.WebDataset(...).decode``: members that end in .ptc become uint8 tensors (3, H, W).

    ``reader``: keywords of ``ArrayReader``. Other members are left to the handlers after it. Raises as
    ``ArrayReader.read`` does.
    """

    def __init__(self, **reader: Any) -> None:
        self.reader = ArrayReader(**reader)

    def __call__(self, key: str, data: bytes) -> Tensor | None:
        """Decode ``data`` where the member's extension, ``key``, is .ptc, or ends in it; else return None."""
        if not key.lower().endswith(SUFFIX):
            return None
        return _decoded(self.reader, io.BytesIO(data))


def _decoded(reader: ArrayReader, file: IO[bytes]) -> Tensor:
    pixels = reader.read(file, lambda n: int(torch.randint(n, ())))  # type: ignore[arg-type]
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _files_of(source: Path) -> Iterator[PtcFile]:
    if source.is_dir():
        paths = sorted(path for path in source.rglob(f"*{SUFFIX}") if not path.name.startswith("."))
        files = [PtcFile(path) for path in paths]
    elif source.suffix.lower() == ".tar":
        files = _members(source)
    elif source.is_file():
        files = [PtcFile(source)]
    else:
        raise UsageError(f"{source} does not exist; expected .ptc files, folders of them, or tar shards")
    if not files:
        raise UsageError(f"{source} has no {SUFFIX} file")
    yield from files


def _members(shard: Path) -> list[PtcFile]:
    try:
        with tarfile.open(shard, "r:") as tar:
            members = [m for m in tar if m.isfile() and m.name.lower().endswith(SUFFIX)]
            complete = tar.offset < shard.stat().st_size  # behind the last member two blocks of zeros stand
    except (tarfile.TarError, EOFError) as error:
        raise FormatError(f"{shard} cannot be read as a tar file: {error}; write it again") from None
    except OSError as error:
        raise UsageError(f"{shard} cannot be read: {error.strerror or error}") from None
    if not complete:
        raise FormatError(f"{shard} is not complete: it lacks the end of a tar file; write it again")
    return [PtcFile(shard, m.name, m.offset_data, m.size) for m in members]


@contextmanager
def _naming(file: PtcFile) -> Iterator[None]:
    try:
        yield
    except PromptcodecError as error:
        raise type(error)(f"{file}: {error}") from error


class _Section(io.RawIOBase):
    """A part of a file as a file of its own, which closes the whole one."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._offset, self._size, self._position = file, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self._size - self._position), 0)
        self._file.seek(self._offset + self._position)
        data = self._file.read(count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
