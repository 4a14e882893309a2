"""Many files at once: plan which input gives which output, run them, report each, go on after failures."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from promptcodec.cli.progress import ProgressBar
from promptcodec.errors import PromptcodecError, UsageError

PIPE = "-"


@dataclass(frozen=True)
class Job:
    """One input and the output it is to become; either may be ``-``, a pipe."""

    source: str
    target: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job. ``status`` is ``done``, ``skipped`` or ``failed``."""

    source: str
    target: str
    status: str
    message: str = ""
    bytes_in: int = 0
    bytes_out: int = 0
    width: int = 0
    height: int = 0
    seconds: float = 0.0


def plan(
    inputs: Sequence[str], output: str | None, suffix: str, extensions: Iterable[str], recursive: bool = False
) -> list[Job]:
    """Pair every input file (folders are searched for ``extensions``) with its output.

    Without ``output`` a file's neighbour with ``suffix``; with a folder, a file in it (sub-folders kept); with a file,
    that file. Raises UsageError where two inputs would write the same output, before anything runs.
    """
    found = list(_expand(inputs, frozenset(extensions), recursive))
    if not found:
        raise UsageError(f"no pictures found in {', '.join(inputs)}" + ("" if recursive else " (sub-folders need -r)"))
    several = len(found) > 1 or any(Path(i).is_dir() for i in inputs)
    if several and output == PIPE:
        raise UsageError(f"{len(found)} files cannot all be written to a pipe; give -o a folder")
    if several and output is not None and Path(output).is_file():
        raise UsageError(f"{len(found)} files cannot all be written to the file {output}; give -o a folder")
    into = output is not None and output != PIPE and (several or output.endswith("/") or Path(output).is_dir())
    jobs = []
    for source, relative in found:
        if output is None:
            target = PIPE if source == PIPE else str(Path(source).with_suffix(suffix))
        elif into:
            if source == PIPE:
                raise UsageError("a picture from a pipe has no name; give -o a file")
            target = str(Path(output) / relative.with_suffix(suffix))
        else:
            target = output
        jobs.append(Job(source, target))
    _refuse_collisions(jobs)
    return jobs


def _expand(inputs: Sequence[str], extensions: frozenset[str], recursive: bool) -> Iterator[tuple[str, Path]]:
    for item in inputs:
        path = Path(item)
        if item != PIPE and path.is_dir():
            files = path.rglob("*") if recursive else path.glob("*")
            for file in sorted(f for f in files if f.suffix.lower() in extensions and f.is_file()):
                yield str(file), file.relative_to(path)
        else:
            yield item, Path(path.name)


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    seen: dict[str, str] = {}
    for job in jobs:
        if job.target == PIPE:
            continue
        other = seen.setdefault(str(Path(job.target).absolute()), job.source)
        if other != job.source:
            raise UsageError(f"{other} and {job.source} would both be written to {job.target}; rename one, or give "
                             "them different folders")  # fmt: skip
        if job.source != PIPE and Path(job.source).absolute() == Path(job.target).absolute():
            raise UsageError(f"{job.source} would be overwritten by its own output; give another -o")


def run(
    jobs: Sequence[Job], work: Callable[[Job], Outcome], processes: int, prepare: Callable[[], None], as_json: bool
) -> int:
    """Run ``work`` on every job, in ``processes`` of one thread each if more than one; returns the exit code.

    Each worker process calls ``prepare`` once. Failed files are reported on standard error and the rest goes on.
    After Ctrl-C the files in hand are finished, no further ones are begun.
    """
    failed = 0
    with ProgressBar(len(jobs)) as bar:
        for outcome in _outcomes(jobs, work, processes, prepare):
            bar.advance()
            failed += outcome.status == "failed"
            _report(outcome, as_json)
    return 1 if failed else 0


def _outcomes(
    jobs: Sequence[Job], work: Callable[[Job], Outcome], processes: int, prepare: Callable[[], None]
) -> Iterator[Outcome]:
    if processes <= 1 or len(jobs) == 1:
        prepare()
        for job in jobs:
            yield _attempt(work, job)
        return
    context = get_context("spawn")  # torch's threads do not survive a fork
    with ProcessPoolExecutor(processes, context, initializer=_begin_worker, initargs=(prepare,)) as pool:
        with _interrupts_blocked():
            futures: list[Future[Outcome]] = [pool.submit(_attempt, work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started inside inherit the mask: the parent alone decides what Ctrl-C means."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker(prepare: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare()


def _attempt(work: Callable[[Job], Outcome], job: Job) -> Outcome:
    try:
        return work(job)
    except UsageError:  # wrong for every file, not for this one
        raise
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "alloc" not in str(error) and "memory" not in str(error):
            raise  # torch has no other type for an allocation that failed on the CPU
        return Outcome(job.source, job.target, "failed", "not enough memory for this picture")
    except (PromptcodecError, OSError) as error:
        message = str(error)
        if isinstance(error, OSError) and error.strerror:
            message = error.strerror + (f": {error.filename}" if error.filename not in (None, job.source) else "")
        return Outcome(job.source, job.target, "failed", message)


def _report(outcome: Outcome, as_json: bool) -> None:
    if outcome.status == "failed":
        name = "standard input" if outcome.source == PIPE else outcome.source
        text = outcome.message if outcome.message.startswith(name) else f"{name}: {outcome.message}"
        print(f"promptcodec: {text}", file=sys.stderr)
    # The report must not mix with a picture that goes to standard output.
    stream = sys.stderr if outcome.target == PIPE else sys.stdout
    if as_json:
        print(json.dumps(asdict(outcome)), file=stream)
    elif outcome.status == "done" and outcome.target != PIPE:
        size = f"{outcome.bytes_in:,} -> {outcome.bytes_out:,} bytes"
        print(f"{outcome.target}: {outcome.width}x{outcome.height}, {size}, {outcome.seconds:.2f} s")
    elif outcome.status == "skipped":
        print(f"{outcome.target}: up to date", file=stream)
