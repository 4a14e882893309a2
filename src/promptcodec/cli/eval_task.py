"""``promptcodec eval --task``: measure what recognisers still see in coded pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast, get_args

from promptcodec.batch import runtime
from promptcodec.cli.progress import measuring
from promptcodec.cli.streams import say_record
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
    from promptcodec.evaluate.results import RowsFile
    from promptcodec.evaluate.tasks.rows import CodedSize, TaskRow
    from promptcodec.tasks.recogniser import Recogniser, Task

DEFAULT_CODECS = ("promptcodec", "jpeg", "webp", "avif", "jpegxl")
_WITH_PEERS = ("vvc",)


def default_codecs() -> list[str]:
    """Return the codecs that are measured where none is named: VVC too, where its encoder is installed."""
    return [*DEFAULT_CODECS, *(_WITH_PEERS if find_spec("imageio_ffmpeg") else ())]


def run(
    task: str,
    sources: Sequence[str],
    recognisers: Sequence[str],
    coded_sizes: Sequence[str],
    labels: Path | None,
    networks: Path | None,
    plan: Sequence[tuple[EvaluatedCodec, Sequence[float]]],
    output: Path,
    anchors: list[str] | None,
    threads: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure what is new of ``plan``, print scores, intervals and comparisons, and draw them into ``plot``; with an
    empty plan, only what the results hold.

    Raises UsageError for what does not exist, PromptcodecError where a codec fails.
    """
    from rich.console import Console

    from promptcodec.evaluate.pages.task_report import print_task_summary
    from promptcodec.evaluate.results import RowsFile
    from promptcodec.evaluate.tasks.rows import TaskRow
    from promptcodec.evaluate.tasks.summary import summarise_task
    from promptcodec.system.extras import import_extra
    from promptcodec.tasks.registry import label

    kind = _task(task)
    runtime.prepare(threads)
    import_extra("scipy.interpolate", "scipy")  # not after hours of measuring
    if kind == "detect":
        import_extra("pycocotools.mask", "pycocotools", "tasks")
    if plot is not None:
        import_extra("matplotlib.figure", "matplotlib")
    results = RowsFile(output, TaskRow)
    if plan:
        opened = _open(kind, recognisers, networks)
        paths, sizes = [Path(source) for source in sources], _sizes(coded_sizes)
        if kind == "read":
            sizes = sizes[-1:]  # the reader looks at pictures as they are: both sizes are one
        with TemporaryDirectory() as prepared:
            rows = _measured(results, paths, plan, opened, sizes, labels, kind, Path(prepared))
    elif not output.exists():
        raise UsageError(f"there is no results file {output}")
    else:
        labels_of = [label(name) for name in recognisers]
        rows = [row for row in results if row.task == kind and (not labels_of or row.recogniser in labels_of)]
    summary = summarise_task(rows, anchors)
    if plot is not None:
        from promptcodec.evaluate.pages.plots import task_plot

        task_plot(summary, plot)
    if as_json:
        say_record("eval", "task_summary", asdict(summary))
    else:
        print_task_summary(summary, Console())


def _task(name: str) -> Task:
    from promptcodec.tasks.recogniser import Task

    for task in get_args(Task):
        if name == task:
            return cast("Task", task)
    raise UsageError(f"--task is classify, detect or read, not {name!r}")


def _sizes(names: Sequence[str]) -> list[CodedSize]:
    sizes: list[CodedSize] = ["input", "native"]
    if unknown := [name for name in names if name not in sizes]:
        raise UsageError(f"--coded-size is input or native, not {unknown[0]!r}")
    return [size for size in sizes if not names or size in names]


def _open(task: Task, names: Sequence[str], networks: Path | None) -> list[Recogniser]:
    from promptcodec.tasks.registry import DEFAULTS, open_recogniser

    return [open_recogniser(name, networks, task) for name in dict.fromkeys(names or [DEFAULTS[task]])]


def _measured(
    results: RowsFile[TaskRow],
    sources: list[Path],
    plan: Sequence[tuple[EvaluatedCodec, Sequence[float]]],
    recognisers: Sequence[Recogniser],
    sizes: Sequence[CodedSize],
    labels: Path | None,
    task: Task,
    prepared: Path,
) -> list[TaskRow]:
    from promptcodec.evaluate.data.datasets import find_pictures
    from promptcodec.evaluate.tasks.measure import measure
    from promptcodec.evaluate.tasks.truth import check_names, read_truth
    from promptcodec.evaluate.tasks.word_pictures import write_word_pictures

    pictures, truth = find_pictures(sources), read_truth(task, sources, labels)
    if task == "read" and not truth:
        pictures = write_word_pictures(pictures, prepared)
        truth = read_truth(task, [prepared])
    check_names(pictures, truth, labels)
    each = 1 + sum(len(settings) for _, settings in plan)
    rows = measure(pictures, plan, recognisers, sizes, results, truth)
    total = len(pictures) * len(sizes) * len(recognisers) * each
    # The same picture may lie in the set twice.
    return list({row.key: row for row in measuring(rows, total)}.values())
