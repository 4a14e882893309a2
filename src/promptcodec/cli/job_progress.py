"""How a batch job gets on: a line for each shard, one for each failure, and a bar for people at a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from promptcodec.batch.records import Progress, ShardRecord
from promptcodec.cli.streams import counted, say, say_record
from promptcodec.system.informing import only_informs

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_guarded = only_informs("the progress of the job")


class JobProgress:
    """The watcher of a job on the command line. The bar, in shards, also has what was done a second until now."""

    def __init__(self, verb: str, as_json: bool) -> None:
        self.verb, self.as_json = verb, as_json
        self.done = Progress()
        self._bar: Bar | None = None
        self._begin = time.monotonic()

    def __enter__(self) -> JobProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @_guarded
    def begun(self, shards: int) -> None:
        """The job has so many shards to do."""
        self._begin = time.monotonic()
        if not sys.stderr.isatty() or not shards:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            BarColumn(), MofNCompleteColumn(), TextColumn("shards {task.fields[facts]}, left:"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(),
        )  # fmt: skip
        self._bar.add_task("", total=shards, facts=self.facts())
        self._bar.start()

    @_guarded
    def advanced(self, progress: Progress) -> None:
        """Pictures were done, or lost with a worker."""
        self.done += progress
        self._update(0)

    @_guarded
    def finished(self, record: ShardRecord) -> None:
        """A shard has a record."""
        self._update(1)
        if record.status == "stopped":
            return
        for failure in record.failures:
            if not self.as_json:
                text = failure.message
                text = text if text.startswith(failure.file) else f"{failure.file}: {text}"
                say(f"promptcodec: {text}", error=True)
            else:
                say_record("batch", "failure", {"file": failure.file, "message": failure.message})
        if self.as_json:
            say_record("batch", "shard", self._facts_of(record))
        elif record.status == "done":
            name = record.output or (record.files[0].name if record.files else record.source)
            more = f" and {len(record.files) - 1} more" if len(record.files) > 1 and not record.output else ""
            failed = f", {len(record.failures)} failed" * bool(record.failures)
            say(f"{name}{more}: {counted(record.pictures, 'picture')}{failed}, "
                f"{record.bytes_in:,} -> {record.bytes_out:,} bytes, {record.seconds:.2f} s")  # fmt: skip

    def facts(self) -> str:
        """Return what was done, and how much of it a second."""
        done, seconds = self.done, max(time.monotonic() - self._begin, 1e-9)
        ratio = f"{100 * done.bytes_out / done.bytes_in:.1f} %" if done.bytes_in else "-"
        return (
            f"{counted(done.pictures, 'picture')}, {done.pixels / 1e6 / seconds:.2f} MP/s, "
            f"{done.bytes_in / 1e6 / seconds:.2f} MB/s, to {ratio}, {done.failures} failed"
        )

    def _facts_of(self, record: ShardRecord) -> dict[str, Any]:
        return {
            "job": self.verb, "source": record.source, "output": record.output or None, "status": record.status,
            "pictures": record.pictures, "failures": len(record.failures), "carried": record.carried,
            "pixels": record.pixels, "bytes_in": record.bytes_in, "bytes_out": record.bytes_out,
            "seconds": record.seconds, "worker": record.worker,
        }  # fmt: skip

    def _update(self, shards: int) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=shards, facts=self.facts())
