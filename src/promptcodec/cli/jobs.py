"""Many files at once: plan which input gives which output, run them, report each, go on after failures."""

from __future__ import annotations

import errno
import os
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from promptcodec.batch.errors import DIRECTORY_NOISE, explain
from promptcodec.cli import streams
from promptcodec.cli.inputs import find
from promptcodec.cli.progress import ProgressBar
from promptcodec.cli.streams import say, say_record
from promptcodec.errors import PromptcodecError, UnfitError, UsageError
from promptcodec.system.import_path import SafeChildren
from promptcodec.system.interrupts import interrupts_blocked
from promptcodec.system.special_files import descriptor, is_stream

PIPE = streams.PIPE


@dataclass(frozen=True)
class Job:
    """One input and the output it is to become; either may be ``-``, a pipe."""

    source: str
    target: str
    problem: str = ""  # why it cannot be done, where that is known before


@dataclass(frozen=True)
class Outcome:
    """What became of a job. ``status`` is ``done``, ``skipped``, or something that went wrong, such as ``failed``."""

    source: str
    target: str
    status: str
    message: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0


_bars: list[ProgressBar] = []  # the one of this process; workers have none


def part_done(done: int, total: int) -> None:
    """Note, called by ``work``, that the tiles of its file, or the steps of an effort, are done."""
    for bar in _bars:
        bar.part(done, total)


def plan(
    inputs: Sequence[str],
    output: str | None,
    suffix: str,
    extensions: Iterable[str],
    recursive: bool = False,
    name_others: Iterable[str] | None = None,
) -> list[Job]:
    """Pair every input file (folders are searched for ``extensions``) with its output.

    Without ``output`` a file's neighbour with ``suffix``; with a folder, a file in it (sub-folders kept); with a file,
    that file. ``/dev/stdout`` is ``-`` by another name. ``name_others``: see ``inputs.find``. Raises UsageError where
    two inputs would write the same output, before anything runs.
    """
    sources = find(inputs, extensions, recursive, name_others)
    if output is not None and descriptor(output) == 1:
        output = PIPE
    several = len(sources) > 1 or any(Path(i).is_dir() for i in inputs)
    if several and output == PIPE:
        raise UsageError(f"{len(sources)} files cannot all be written to a pipe; give -o a folder")
    if several and output is not None and Path(output).exists() and not Path(output).is_dir():
        raise UsageError(f"{len(sources)} files cannot all be written to the file {output}; give -o a folder")
    into = output is not None and output != PIPE and (several or output.endswith("/") or Path(output).is_dir())
    jobs = []
    for one in sources:
        source, relative = one.source, one.relative
        if one.problem:
            jobs.append(Job(source, "", one.problem))
            continue
        if output is None:
            nameless = source == PIPE or descriptor(source) is not None
            target = PIPE if nameless else str(Path(source).with_suffix(suffix))
        elif into:
            if source == PIPE:
                raise UsageError("a picture from a pipe has no name; give -o a file")
            target = str(Path(output) / relative.with_suffix(suffix))
        else:
            target = output
        jobs.append(Job(source, target))
    _refuse_collisions(jobs)
    return jobs


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        if job.problem:
            continue
        stream = job.target == PIPE or is_stream(job.target)
        other = seen.setdefault(job.target if stream else os.path.realpath(job.target), job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both be written to {job.target}; rename one, or give "
                             "them different folders")  # fmt: skip
        if job.source != PIPE and not stream and os.path.realpath(job.source) == os.path.realpath(job.target):
            raise UsageError(f"{job.source} would be overwritten by its own output; give another -o")


class DiskFullError(PromptcodecError):
    """There is no room for an output: the next one would fail just so, and the batch ends."""


def run(
    jobs: Sequence[Job],
    work: Callable[[Job], Outcome],
    processes: int,
    prepare: Callable[[], None],
    as_json: bool,
    report: Callable[[Outcome, bool], None],
) -> int:
    """Run ``work`` on every job, in ``processes`` of one thread each if more than one; returns the exit code.

    Each worker process calls ``prepare`` once. ``report`` prints what became of a file (as JSON if so told); failed
    files are reported on standard error and the rest goes on. Several files end with a summary. A full disk ends the
    batch, with DiskFullError; after Ctrl-C the files in hand are finished, no further ones are begun.
    """
    counts: Counter[str] = Counter()
    try:
        # Closed at once, so that no worker outlives a report that could not be written.
        with ProgressBar(len(jobs)) as bar, closing(_outcomes(jobs, work, processes, prepare)) as outcomes:
            _bars[:] = [bar]
            for outcome in outcomes:
                bar.advance()
                counts[outcome.status] += 1
                report(outcome, as_json)
    finally:
        if len(jobs) > 1 and not as_json:
            say(_summary(counts, len(jobs)))
    return 1 if set(counts) - {"done", "skipped"} else 0


def _summary(counts: Counter[str], total: int) -> str:
    parts = [f"{number} {status}" for status, number in sorted(counts.items())]
    if total > counts.total():
        parts.append(f"{total - counts.total()} not finished")
    return f"{total} files: {', '.join(parts)}"


def _outcomes(
    jobs: Sequence[Job], work: Callable[[Job], Outcome], processes: int, prepare: Callable[[], None]
) -> Generator[Outcome, None, None]:
    if processes <= 1 or len(jobs) == 1:
        prepare()
        for job in jobs:
            yield _attempt(work, job)
        return
    yield from _pooled(jobs, work, processes, prepare)


def _pooled(
    jobs: Sequence[Job], work: Callable[[Job], Outcome], processes: int, prepare: Callable[[], None]
) -> Iterator[Outcome]:
    """Work in worker processes. Where one is killed, the files in hand are tried alone, and the others go on."""
    left = list(jobs)
    while left:
        finished, broken = set(), False
        context = get_context("spawn")  # torch's threads do not survive a fork
        with SafeChildren():  # the pool begins multiprocessing's resource tracker
            pool = ProcessPoolExecutor(processes, context, initializer=_begin_worker, initargs=(prepare,))
        with pool:
            try:
                with SafeChildren(), interrupts_blocked():  # the parent alone decides what Ctrl-C means
                    futures: dict[Future[Outcome], Job] = {pool.submit(_attempt, work, job): job for job in left}
                for future in as_completed(futures):
                    if isinstance(future.exception(), BrokenProcessPool):
                        broken = True
                        continue
                    finished.add(futures[future])
                    yield future.result()
            except BrokenProcessPool:  # already while jobs were handed out
                broken = True
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        left = [job for job in left if job not in finished]
        if not broken:
            return
        if processes == 1:
            job = left.pop(0)
            yield Outcome(job.source, job.target, "failed", "the process was killed; is there enough memory for it?")
        else:
            suspects, left = left[:processes], left[processes:]
            for job in suspects:
                yield from _pooled([job], work, 1, prepare)


def _begin_worker(prepare: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    streams.prepare()
    prepare()


def _attempt(work: Callable[[Job], Outcome], job: Job) -> Outcome:
    """Run ``work`` on ``job``; whatever goes wrong is this file's failure, not the batch's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = Outcome(job.source, "", "failed", job.problem) if job.problem else work(job)
        except Exception as error:
            if isinstance(error, UsageError) and not isinstance(error, UnfitError):  # wrong for every file
                raise
            if isinstance(error, BrokenPipeError):  # whoever read the output has had enough
                raise
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise DiskFullError(f"{display_name(job.source)}: {error.strerror}") from None
            outcome = Outcome(job.source, job.target, "failed", explain(error, job.source))
    for warning in caught:
        if DIRECTORY_NOISE.match(str(warning.message)):  # said once already, in words that name what is lost
            continue
        say(f"promptcodec: {display_name(job.source)}: {warning.message}", error=True)
    return outcome


def display_name(source: str) -> str:
    """Return a source as people know it."""
    return "standard input" if source == PIPE else source


def record_of(verb: str, outcome: Outcome) -> dict[str, Any]:
    """Return the record of a file for ``say_record``.

    ``bytes`` are always those of the .ptc file, null what is not known.
    """
    coded, picture = outcome.bytes_in, outcome.bytes_out
    if verb == "encode":
        coded, picture = picture, coded
    return {
        "file": outcome.source, "output": outcome.target or None, "status": outcome.status, "message": outcome.message,
        "bytes": coded or None, "picture_bytes": picture or None, "width": outcome.width or None,
        "height": outcome.height or None, "seconds": outcome.seconds,
    }  # fmt: skip


def report(verb: str, outcome: Outcome, as_json: bool) -> None:
    """Print what became of a file that ``verb`` was to encode or decode."""
    if outcome.status == "failed":
        name = display_name(outcome.source)
        text = outcome.message if outcome.message.startswith(name) else f"{name}: {outcome.message}"
        say(f"promptcodec: {text}", error=True)
    mixed = outcome.target == PIPE  # the report would, with a picture that goes to standard output
    if as_json:
        say_record(verb, "file", record_of(verb, outcome), error=mixed)
    elif outcome.status == "done" and outcome.target != PIPE:
        size = f"{outcome.bytes_in:,} -> {outcome.bytes_out:,} bytes"
        say(f"{outcome.target}: {outcome.width}x{outcome.height}, {size}, {outcome.seconds:.2f} s")
    elif outcome.status == "skipped":
        say(f"{outcome.target}: up to date", error=mixed)
