"""``promptcodec plot``: draw what was measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptcodec.cli import completion, options, plot_training
from promptcodec.cli.streams import say
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.evaluate.bdrate import Curve
    from promptcodec.evaluate.results import Row
    from promptcodec.evaluate.summary import Summary

KINDS = "rd, bars, storage, range, ends, region, accuracy, latency, training"


def command(
    kind: Annotated[str, typer.Argument(help=f"{KINDS}.", show_default=False)],
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Results of eval (.jsonl, or packed .json). accuracy: those of eval --task, or JSON files of "
            '{"quality": "top-1 (%)", "curves": {"NAME": [[bpp, quality], ...]}}. '
            "latency: results with the rates, then results with the times. training: folders of runs.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png or .svg.")] = Path("plot.png"),
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="psnr, ms_ssim, lpips_alex, ... (rd, range, ends); again for a panel beside it. psnr by default.",
            autocompletion=completion.metrics,
        ),
    ] = None,
    curves: Annotated[
        list[str] | None,
        typer.Option(
            "--curve",
            help="A stored curve to draw too, again for more (rd, bars, storage, training).",
            autocompletion=completion.curves,
        ),
    ] = None,
    codecs: Annotated[
        list[str] | None,
        typer.Option("--codec", help="Only this one of the results, again for more; bars: whose."),
    ] = None,
    families: options.Families = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Validation set of training, of several.")] = None,
    anchor: Annotated[
        str, typer.Option(help="Stored curve that BD-rates are against (latency, storage; there also a codec).")
    ] = "kodak/vtm",
) -> None:
    """Draw rate-distortion curves, bars of BD-rates, adaptive ranges, regions, accuracy, latency or training."""
    from promptcodec.evaluate.data.stored import open_curve
    from promptcodec.evaluate.families import as_curves, read_families
    from promptcodec.evaluate.metrics import METRICS
    from promptcodec.evaluate.packed import read_rows
    from promptcodec.evaluate.pages import figures, plots, ranges
    from promptcodec.evaluate.pages.speed import speeds
    from promptcodec.evaluate.summary import is_ours, summarise

    if missing := [path for path in results if not path.exists()]:
        raise UsageError(f"there is no file {missing[0]}")
    metrics = options.names_of("--metric", metric) or ["psnr"]
    if unknown := [name for name in metrics if name not in METRICS]:
        raise UsageError(f"--metric is one of {', '.join(METRICS)}, not {unknown[0]!r}")
    stored = [open_curve(name) for name in options.names_of("--curve", curves)]
    selected = options.names_of("--codec", codecs)
    if kind == "training":
        plot_training.draw(results, output, dataset, stored)
        return
    if kind == "accuracy":
        _plot_accuracy(results, selected, output)
        return
    if kind == "latency":
        if len(results) != 2:
            raise UsageError("latency takes two results: those with the rates, then those with the times")
        points = speeds(read_rows(results[0]), read_rows(results[1]), open_curve(anchor))
        figures.latency_plot(points, anchor, output)
        return
    measured = [row for path in results for row in read_rows(path)]
    rows = as_curves(measured, read_families(families or []), {*selected, anchor})
    if kind == "bars":
        summary = summarise(rows, stored=stored)
        ours = selected or [label for label in summary.curves if is_ours(label)]
        if len(ours) != 1:
            raise UsageError(
                f"bars are of one codec, name it with --codec (found: {', '.join(ours) or 'none of ours'})"
            )
        figures.bd_bars(summary, ours[0], output)
        return
    rows = [row for row in rows if not selected or row.codec in selected]
    drawings: dict[str, Callable[[], None]] = {
        "rd": lambda: plots.rd_plot(rows, output, metrics, stored),
        "range": lambda: ranges.range_plot(rows, output, metrics),
        "ends": lambda: ranges.ends_plot(rows, output, metrics),
        "region": lambda: plots.region_plot(rows, output),
        "storage": lambda: figures.storage_bars(_against(rows, anchor), anchor, output),
    }
    if kind not in drawings:
        raise UsageError(f"there is no plot {kind!r} (known: {KINDS}; crops side by side: promptcodec compare)")
    drawings[kind]()


def _against(rows: list[Row], anchor: str) -> Summary:
    """Compare every codec with one of them, or with a stored curve. Raises UsageError for an unknown anchor."""
    from promptcodec.evaluate.data.stored import open_curve
    from promptcodec.evaluate.summary import summarise

    measured = anchor in {row.codec for row in rows}
    return summarise(rows, [anchor] if measured else [], [] if measured else [open_curve(anchor)])


def _plot_accuracy(files: list[Path], codecs: list[str], output: Path) -> None:
    """Draw results of ``eval --task``, or curves from elsewhere, whose differences are printed."""
    from promptcodec.evaluate.pages.plots import accuracy_plot, task_plot
    from promptcodec.evaluate.results import RowsFile
    from promptcodec.evaluate.tasks.rows import ORIGINAL, TaskRow
    from promptcodec.evaluate.tasks.summary import summarise_task

    if not all(path.suffix == ".jsonl" for path in files):
        accuracies, quality = _accuracies(files)
        accuracy_plot(accuracies, output, quality)
        _print_differences(accuracies)
        return
    rows = [row for path in files for row in RowsFile(path, TaskRow)]
    task_plot(summarise_task(row for row in rows if not codecs or row.codec in (*codecs, ORIGINAL)), output)


def _print_differences(curves: dict[str, Curve]) -> None:
    """Print Bjøntegaard differences against the first curve."""
    from promptcodec.evaluate.bdrate import bd_quality, bd_rate

    first, *others = curves
    for name in others:
        rate, quality = bd_rate(curves[name], curves[first]), bd_quality(curves[name], curves[first])
        percent = "-" if rate.percent is None else f"{rate.percent:+.1f} %"
        points = "-" if quality.quality is None else f"{quality.quality:+.2f}"
        say(f"{name} against {first}: BD-rate {percent}, BD-quality {points}, overlap {rate.overlap:.0%}")


def _accuracies(files: list[Path]) -> tuple[dict[str, Curve], str]:
    curves: dict[str, Curve] = {}
    qualities = set()
    for path in files:
        try:
            content = json.loads(path.read_text("utf-8"))
            qualities.add(str(content["quality"]))
            curves |= {n: [(float(r), float(q)) for r, q in points] for n, points in content["curves"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path} holds no rate-accuracy curves: {error!r}") from error
    if len(qualities) > 1:
        raise UsageError(f"the files measure different things: {', '.join(sorted(qualities))}")
    return curves, qualities.pop()
