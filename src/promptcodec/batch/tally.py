"""What a worker counts while it codes a shard, and the coding of one picture, whose failure is its own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from promptcodec.batch.engine import Control
from promptcodec.batch.errors import DIRECTORY_NOISE, StoppedError, explain
from promptcodec.batch.lookahead import Coding, look_ahead
from promptcodec.batch.records import Coded, Failure, Progress, ShardRecord, Status, WrittenFile, add_sums
from promptcodec.batch.settings import EncodeSettings, Settings
from promptcodec.batch.shards import Shard
from promptcodec.errors import UnfitError, UsageError

T = TypeVar("T")

LARGEST = 2**28  # bytes of an encoded picture, in an archive whose headers may say anything


class Tally:
    """Codes the pictures of one shard and counts what became of them."""

    def __init__(self, shard: Shard, settings: Settings, control: Control) -> None:
        self.shard, self.settings, self.control = shard, settings, control
        self.pictures = self.pixels = self.bytes_in = self.bytes_out = self.carried = 0
        self.files: list[WrittenFile] = []
        self.failures: list[Failure] = []
        self.warnings: dict[str, tuple[int, str]] = {}
        self.sums: Any = {}
        self._reported = Progress()

    def check_stop(self) -> None:
        """Raise StoppedError where the job is being stopped."""
        if self.control.stopping():
            raise StoppedError

    def fail(self, file: str, index: int, message: str) -> None:
        """Count a picture that has no output."""
        output = self.shard.members[index].output if self.shard.kind == "files" else ""
        self.failures.append(Failure(file, message, index, output))
        self.tell()

    @property
    def pictures_together(self) -> int:
        """How many pictures of one size the networks are to be given at once."""
        return self.settings.pictures_together if isinstance(self.settings, EncodeSettings) else 1

    def ahead(
        self,
        items: Iterator[T],
        encoded: Callable[[T], bytes | None],
        ends_window: Callable[[T], bool] = lambda _: False,
    ) -> Iterator[tuple[T, Coding | None]]:
        """Yield items of the shard, each with what codes its picture, as of ``look_ahead``."""
        if not isinstance(self.settings, EncodeSettings):
            return ((item, None) for item in items)
        return look_ahead(items, self.pictures_together, encoded, self.settings.prepare, ends_window)

    def tries(self, index: int) -> bool:
        """Return whether the member ``index`` is to be coded at all."""
        return self.shard.wants(index) and self.shard.excluding(index) is None

    def code(self, data: bytes, file: str, index: int, name: str, coding: Coding | None = None) -> Coded | None:
        """Return the output of the picture ``name``; None where it failed, and has been counted so, or is not to be
        tried.

        ``file``: the name under which a failure is listed.
        ``coding``: of a picture that was prepared.

        Raises UsageError for what is wrong with every picture.
        """
        if (reason := self.shard.excluding(index)) is not None:
            self.fail(file, index, reason)
            return None
        if len(data) > LARGEST:
            self.fail(file, index, f"the file of the picture has {len(data):,} bytes, more than {LARGEST:,}")
            return None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                coded = self.settings.code(data, name) if coding is None else coding()
            except Exception as error:
                if isinstance(error, UsageError) and not isinstance(error, UnfitError):  # wrong for every picture
                    raise
                self.fail(file, index, explain(error))
                return None
        for warning in caught:
            text = " ".join(str(warning.message).split())
            if not DIRECTORY_NOISE.match(text):  # said once already, in words that name what is lost
                count, first = self.warnings.get(text, (0, file))
                self.warnings[text] = (count + 1, first)
        self.pictures += 1
        self.pixels += coded.width * coded.height
        self.bytes_in += len(data)
        self.bytes_out += len(coded.data)
        if coded.sums:
            self.sums = add_sums(self.sums, coded.sums)
        self.tell()
        return coded

    def tell(self) -> None:
        """Report to the job what has been done since the last time."""
        now = Progress(self.pictures, len(self.failures), self.pixels, self.bytes_in, self.bytes_out)
        self.control.advanced(now - self._reported)
        self._reported = now

    def record(self, status: Status) -> ShardRecord:
        """Return the record of the shard, without what the job adds to each."""
        shard = self.shard
        return ShardRecord(
            shard.id, shard.kind, status, shard.source, shard.output,
            self.pictures, self.pixels, self.bytes_in, self.bytes_out, self.carried, files=tuple(self.files),
            failures=tuple(self.failures), warnings=dict(self.warnings), sums=self.sums,
        )  # fmt: skip

    def keep_first(self, count: int) -> None:
        """Make the shard, of loose files, one of its first ``count`` members: the rest has not been tried."""
        self.shard = replace(self.shard, members=self.shard.members[:count])
