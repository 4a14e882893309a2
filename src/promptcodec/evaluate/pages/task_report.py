"""The summary of ``eval --task`` as tables for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from promptcodec.evaluate.pages.report import table, word
from promptcodec.evaluate.tasks.summary import Estimate, TaskSummary, TaskTable
from promptcodec.system.printable import printable


def print_task_summary(summary: TaskSummary, console: Console) -> None:
    """Print a table of scores and one of comparisons for each recogniser, size and score, then all warnings."""
    for one in summary.tables:
        console.print(_scores(one))
        if one.comparisons:
            console.print(_comparisons(one))
    compared = [
        f"{one.recogniser}, {one.coded_size} size: {one.score}: {entry.codec} against {entry.anchor}: {warning}"
        for one in summary.tables
        for entry in one.comparisons
        for warning in entry.warnings
    ]
    for warning in [*summary.warnings, *compared]:
        console.print(printable(f"warning: {warning}"), markup=False, highlight=False, soft_wrap=True)


def _scores(one: TaskTable) -> Table:
    title = (
        f"{one.title} (%), {printable(one.recogniser)}, coded at {one.coded_size} size, {one.pictures} pictures; "
        f"originals {interval(one.original)}"
    )
    rows = table(title, 1, "codec", "setting", "bpp", "bytes", "score, 95 % interval", "to originals")
    for column in rows.columns[1:]:  # where there is little room, names are wrapped and numbers are not
        column.no_wrap = True
    for label, points in one.curves.items():
        for point in points:
            rows.add_row(
                word(label), f"{point.setting:g}", f"{point.bpp:.4f}", f"{point.bytes:,.0f}", interval(point.score),
                with_error(point.difference),
            )  # fmt: skip
        rows.add_section()
    return rows


def _comparisons(one: TaskTable) -> Table:
    title = "Bjøntegaard differences on the same pictures ± standard error: rate in %, score in points"
    rows = table(title, 2, "codec", "anchor", "BD-rate", "BD-accuracy")
    for entry in one.comparisons:
        values = ("-" if value is None else with_error(value) for value in (entry.rate, entry.accuracy))
        rows.add_row(word(entry.codec), word(entry.anchor), *values)
    return rows


def interval(estimate: Estimate) -> str:
    """Write a value with its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def with_error(estimate: Estimate) -> str:
    """Write a difference with its standard error."""
    return f"{estimate.value:+.1f}" + ("" if estimate.error is None else f" ± {estimate.error:.1f}")
