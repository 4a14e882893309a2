"""What adapters do, for the page of results: a region of interest, and the range that a control covers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from promptcodec.evaluate.bdrate import bd_quality, bd_rate
from promptcodec.evaluate.metrics import METRICS
from promptcodec.evaluate.packed import Results
from promptcodec.evaluate.pages.plots import region_plot
from promptcodec.evaluate.pages.ranges import ends_plot, range_plot
from promptcodec.evaluate.summary import by_curve, mean_points, quality_curve

Figure = Callable[[str, str, str, Callable[[Path], None]], str]  # name, caption, command and drawing to Markdown
Table = Callable[[Sequence[str], Sequence[Sequence[object]]], str]

_REGION = {
    "psnr_inside": "inside", "psnr_outside": "outside", "psnr_weighted": "weighted 0.8 and 0.2", "psnr": "everywhere",
}  # fmt: skip
_RANGE = ("psnr", "ms_ssim", "ssimulacra2", "lpips_alex", "lpips_vgg", "dists")


def region_parts(figure: Figure, table: Table, path: Path, results: Results) -> list[str]:
    """Draw the figure and Bjøntegaard differences of a codec with a region against the first one, which has none."""
    caption = f"{results.title}: PSNR inside the region, outside and everywhere"
    drawn = figure(path.stem, caption, f"region {path}", lambda target: region_plot(results.rows, target))
    curves = by_curve(results.rows)
    plain, *steered = curves
    rows = []
    for label in steered:
        for metric, where in _REGION.items():
            if all(row.metric(metric) is None for row in results.rows):
                continue
            ours, theirs = (quality_curve(mean_points(curves[name]), metric) for name in (label, plain))
            rate, quality = bd_rate(ours, theirs), bd_quality(ours, theirs)
            rows.append([label, where, _signed(rate.percent, ".1f", " %"), _signed(quality.quality, ".2f", " dB")])
    pictures = len({row.sha256 for row in results.rows})
    return [drawn, f"Against {plain}, over {pictures} pictures:", table(["codec", "where", "BD-rate", "BD-PSNR"], rows)]


def range_parts(figure: Figure, table: Table, path: Path, results: Results) -> list[str]:
    """Return the area that one control covers, a figure a metric, and means of its settings at each quality."""
    rows = results.rows
    metrics = [name for name in _RANGE if any(row.metric(name) is not None for row in rows)]
    parts = []
    for metric in ("psnr", "ssimulacra2", "lpips_alex"):
        if metric in metrics:
            caption, command = f"{results.title}, {METRICS[metric].title} over rate", f"range {path} --metric {metric}"
            parts.append(figure(f"{path.stem}-{metric}", caption, command, _range_drawing(results, metric)))
    curves = by_curve(rows)
    if (
        len({label.partition("@")[0] for label in curves if "@" in label}) > 1
    ):  # methods, at their first and last setting
        chosen = [metric for metric in ("lpips_vgg", "lpips_alex", "ms_ssim", "psnr") if metric in metrics][-3:]
        command = f"ends {path}" + "".join(f" --metric {metric}" for metric in chosen)
        parts.append(
            figure(f"{path.stem}-ends", f"{results.title}, both ends", command, _ends_drawing(results, chosen))
        )
    rows_of_settings = []
    settings = sorted({row.setting for row in rows})
    for setting in settings:
        for label, members in curves.items():
            point = next((p for p in mean_points(members) if p.setting == setting), None)
            if point is not None:
                cells = [METRICS[metric].text(point.metric(metric)) for metric in metrics]
                rows_of_settings.append([f"{setting:g}", label.partition("@")[2] or label, f"{point.bpp:.4f}", *cells])
    head = ["quality", "control", "bpp", *(METRICS[metric].title for metric in metrics)]
    pictures = len({row.sha256 for row in rows})
    return [*parts, f"Means over {pictures} pictures:", table(head, rows_of_settings)]


def _range_drawing(results: Results, metric: str) -> Callable[[Path], None]:
    return lambda target: range_plot(results.rows, target, [metric])


def _ends_drawing(results: Results, metrics: Sequence[str]) -> Callable[[Path], None]:
    return lambda target: ends_plot(results.rows, target, metrics)


def _signed(value: float | None, form: str, unit: str) -> str:
    return "-" if value is None else f"{value:+{form}}{unit}"
