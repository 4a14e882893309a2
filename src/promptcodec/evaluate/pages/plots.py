"""Drawings of curves: rate and distortion, regions, accuracy. All write a PNG or an SVG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import Curve
from promptcodec.evaluate.data.stored import StoredCurve
from promptcodec.evaluate.metrics import METRICS
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import by_curve, is_ours, mean_points, quality_curve
from promptcodec.evaluate.tasks.summary import TaskSummary, TaskTable
from promptcodec.system.atomic import atomic_write
from promptcodec.system.extras import import_extra

_RATE = "bits per pixel"
_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0)  # marked on logarithmic scales
_MOST_BPP = 2.0  # beyond it nobody looks, and the interesting part gets small


@dataclass(frozen=True)
class Panel:
    """One of the panels of a figure, over the rate: ``quality`` names its axis, ``draw`` draws into it; ``inverted``
    where lower is better."""

    quality: str
    draw: Callable[[Any], None]
    inverted: bool = False


def rd_plot(
    rows: Iterable[Row], path: Path, metrics: Sequence[str] = ("psnr",), stored: Sequence[StoredCurve] = ()
) -> None:
    """Plot the mean curve of every codec, a panel a metric, ours drawn thick; ``stored`` ones, of others, dashed.

    Raises UsageError where matplotlib is missing, ``path`` cannot be written, or nothing has a metric.
    """
    rows = list(rows)
    save_panels(path, [_rd_panel(rows, metric, stored) for metric in metrics])


def _rd_panel(rows: Sequence[Row], metric: str, stored: Sequence[StoredCurve]) -> Panel:
    curves = measured_curves(rows, metric)
    others = {c.name: curve for c in stored if (curve := _as_printed(quality_curve(c.points, metric), metric))}
    if not curves and not others:
        raise UsageError(f"no result has {metric}")

    def draw(axes: Any) -> None:
        for index, (label, points) in enumerate(others.items()):
            near = [point for point in points if point[0] <= _MOST_BPP]
            grey, dashes = str(0.15 + 0.55 * index / len(others)), ("--", ":", "-.")[index % 3]
            draw_line(axes, f"{label} (stored)", near, color=grey, linestyle=dashes, marker="", linewidth=1.4)
        for label, curve in curves.items():
            draw_line(axes, label, curve)

    return Panel(METRICS[metric].axis, draw, METRICS[metric].lower_is_better)


def region_plot(rows: Iterable[Row], path: Path) -> None:
    """Plot PSNR inside the masks, outside and of all of the picture, over the rate (paper 003, Fig. 4 b to d): the last
    with errors that count 0.8 inside and 0.2 outside, where that was measured, beside the plain one.

    Raises UsageError as ``rd_plot``.
    """
    rows = list(rows)
    panels = []
    for metric in ("psnr_inside", "psnr_outside", "psnr_weighted", "psnr"):
        curves = measured_curves(rows, metric)
        if not curves and metric == "psnr_weighted":
            continue
        if not curves:
            raise UsageError(
                f"no result has {metric}: measure with --metric psnr_inside --metric psnr_outside and masks"
            )
        title = "PSNR of the whole picture (dB)" if metric == "psnr" else METRICS[metric].axis
        panels.append(Panel(title, _drawing(curves)))
    save_panels(path, panels)


def accuracy_plot(curves: Mapping[str, Curve], path: Path, quality: str) -> None:
    """Plot the rate and accuracy of a machine task (paper 002, Fig. 3); ``quality`` names the axis, such as "top-1
    (%)".

    Raises UsageError as ``rd_plot``.
    """
    if not curves:
        raise UsageError("there are no curves to draw")
    save_panels(path, [Panel(quality, _drawing(curves))])


def task_plot(summary: TaskSummary, path: Path) -> None:
    """Plot the scores of ``eval --task`` over the rate, a panel a recogniser, size and score, with 95 % intervals and
    the score of the originals.

    Raises UsageError as ``rd_plot``.
    """
    if not summary.tables:
        raise UsageError("there are no scores to draw")
    panels = []
    for table in summary.tables:

        def draw(axes: Any, table: TaskTable = table) -> None:
            axes.axhline(table.original.value, color="0.4", linestyle="--", linewidth=1, label="originals")
            for label, points in table.curves.items():
                near = [point for point in points if point.bpp <= _MOST_BPP]
                draw_line(axes, label, [(point.bpp, point.score.value) for point in near])
                ends = [(point.score.low, point.score.high) for point in near]
                if near and all(low is not None for low, _ in ends):
                    low, high = zip(*ends, strict=True)
                    colour = axes.get_lines()[-1].get_color()
                    axes.fill_between([point.bpp for point in near], low, high, alpha=0.1, color=colour, linewidth=0)
            axes.set_title(f"{table.recogniser}, coded at {table.coded_size} size, {table.pictures} pictures", size=8.5)
            axes.set_xscale("log")
            axes.set_xticks(_RATES, [f"{rate:g}" for rate in _RATES])
            axes.set_xticks([], minor=True)
            rates = [point.bpp for points in table.curves.values() for point in points if point.bpp <= _MOST_BPP]
            axes.set_xlim(0.9 * min(rates, default=0.1), 1.1 * max(rates, default=1.0))

        panels.append(Panel(f"{table.title} (%)", draw))
    save_panels(path, panels, columns=3)


def measured_curves(rows: Iterable[Row], metric: str) -> dict[str, Curve]:
    """Return the mean curves by label, in the metric's own direction, up to the largest rate worth drawing.

    A codec that was measured on fewer pictures than others has means that cannot stand beside theirs: its label says
    so, and its curve is empty.
    """
    measured = {
        label: having
        for label, members in by_curve(rows).items()
        if (having := [row for row in members if row.metric(metric) is not None])
    }
    pictures = {label: len({row.sha256 for row in having}) for label, having in measured.items()}
    curves: dict[str, Curve] = {}
    for label, having in measured.items():
        if pictures[label] < (most := max(pictures.values())):
            curves[f"{label} (left out: {pictures[label]} of {most} pictures)"] = []
            continue
        curve = _as_printed(quality_curve(mean_points(having), metric), metric)
        curves[label] = [point for point in curve if point[0] <= _MOST_BPP]
    return curves


def _as_printed(curve: Curve, metric: str) -> list[tuple[float, float]]:
    return [(bpp, -quality if METRICS[metric].lower_is_better else quality) for bpp, quality in curve]


def _drawing(curves: Mapping[str, Curve]) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for label, curve in curves.items():
            draw_line(axes, label, sorted(curve))

    return draw


def draw_line(axes: Any, label: str, curve: Curve, **style: Any) -> None:
    """Draw the curve of one codec, ours thick."""
    ours = is_ours(label)
    weight = {"linewidth": 2.6, "zorder": 3} if ours else {"linewidth": 1.3}
    style = ({"marker": "o", "markersize": 3.5} if curve else {"linestyle": ""}) | weight | style
    axes.plot([rate for rate, _ in curve], [quality for _, quality in curve], label=label, **style)


def save_panels(path: Path, panels: Sequence[Panel], columns: int = 0) -> None:
    """Draw the panels over the rate with one legend: one beside the other, or in rows of so many ``columns``.

    Raises UsageError as ``save_figure``.
    """
    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(4.2 * columns + 3.0, 4.8 * rows)
    legend: dict[str, Any] = {}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1, xlabel=_RATE, ylabel=panel.quality)
        panel.draw(axes)
        axes.grid(alpha=0.3)
        if panel.inverted:
            axes.invert_yaxis()
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)  # a codec may have some of the metrics only
    figure.legend(legend.values(), legend.keys(), loc="outside right upper", fontsize=8.5, frameon=False)
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    """Return a matplotlib figure of inches, without pyplot's state. Raises UsageError where matplotlib is missing."""
    return import_extra("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, path: Path) -> None:
    """Save a figure as the suffix says, PNG or SVG, the same bytes each time.

    Raises UsageError where it cannot be written.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise UsageError(f"a plot is a .png or an .svg, not {path}")
    import_extra("matplotlib", "matplotlib").rcParams["svg.hashsalt"] = "promptcodec"
    metadata = {"Software": None} if kind == "png" else {"Date": None}
    try:
        with atomic_write(path, overwrite=True) as file:
            figure.savefig(file, format=kind, dpi=100, metadata=metadata)
    except OSError as error:
        raise UsageError(f"cannot write the plot {path}: {error.strerror}") from error
