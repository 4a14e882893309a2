"""Progress bars for people at a terminal; of files only after two seconds, and nothing for anybody else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from threading import Lock, Timer
from typing import TYPE_CHECKING, TypeVar

from promptcodec.system.informing import only_informs
from promptcodec.system.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress

    from promptcodec.evaluate.results import Row
    from promptcodec.evaluate.tasks.rows import TaskRow

    AnyRow = TypeVar("AnyRow", Row, TaskRow)

DELAY = 2.0  # seconds
_guarded = only_informs("the progress bar")


class ProgressBar:
    """Counts ``total`` files, and of the one in hand its parts: tiles, or the steps of an effort. Of a single file
    without parts, whose end nobody knows, only the time is shown.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.share = 0.0  # of the file in hand
        self._lock = Lock()
        self._progress: Progress | None = None
        self._timer: Timer | None = None

    def __enter__(self) -> ProgressBar:
        self._start()
        return self

    @_guarded
    def _start(self) -> None:
        if sys.stderr.isatty():
            self._timer = Timer(DELAY, self._show)
            self._timer.daemon = True
            self._timer.start()

    @_guarded
    def advance(self) -> None:
        """Show that one file more is done."""
        with self._lock:
            self.done, self.share = self.done + 1, 0.0
            self._update()

    @_guarded
    def part(self, done: int, total: int) -> None:
        """Show that so many parts of the file in hand are done."""
        with self._lock:
            self.share = done / total if total > 1 else 0.0
            self._update()

    @_guarded
    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self.done = self.total
            if self._progress is not None:
                self._progress.stop()

    def _update(self) -> None:
        if self._progress is not None:
            total = self.total if self.total > 1 or self.share else None
            self._progress.update(self._progress.task_ids[0], completed=self.done + self.share, total=total)

    @_guarded
    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeElapsedColumn

        count = MofNCompleteColumn() if self.total > 1 else TaskProgressColumn()
        with self._lock:
            if self.done >= self.total:
                return
            progress = Progress(
                BarColumn(),
                count,
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # a file or pipe must get its lines
            )
            progress.add_task("", total=None)
            progress.start()
            self._progress = progress
            self._update()


def measuring(rows: Iterable[AnyRow], total: int) -> Iterator[AnyRow]:
    """Yield the rows of a measurement as they come, under a bar at a terminal that counts them up to ``total``."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("measuring", total=total)
        for row in rows:
            yield row
            progress.update(bar, advance=1, description=printable(f"{row.picture} {row.codec} {row.setting:g}"))
