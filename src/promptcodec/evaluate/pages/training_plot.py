"""What training bought, sample by sample: curves from first to last, and their distance from an anchor."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluate.bdrate import Curve, bd_rate
from promptcodec.evaluate.data.rd_log import RDRow
from promptcodec.system.atomic import atomic_write
from promptcodec.system.extras import import_extra

MOST_CURVES = 8  # in the left panel


def over_samples(rows: Sequence[RDRow], anchor: Curve) -> list[tuple[int, float | None]]:
    """Return the samples and BD-rate against ``anchor`` in per cent, None where the two share no quality."""
    return [(row.samples, bd_rate(row.points, anchor).percent) for row in rows]


def training_plot(runs: Mapping[str, Sequence[RDRow]], anchors: Mapping[str, Curve], path: Path) -> None:
    """Write a PNG: on the left the curves of the first run, on the right the BD-rates of all of them over samples.

    ``anchors``: curves to measure against, by name; without one, the first run's last row. Raises UsageError where
    matplotlib is missing, a run has no row of more than one rate, or ``path`` cannot be written.
    """
    figure_module, colour = import_extra("matplotlib.figure", "matplotlib"), import_extra("matplotlib", "matplotlib")
    first = next(iter(runs.values()))
    if any(len(row.points) < 2 for rows in runs.values() for row in rows) or not first:
        raise UsageError("the plot needs rows of at least two rates: a model of one rate has no curve")
    figure = figure_module.Figure(figsize=(11, 4.5), layout="constrained")  # pyplot would keep state
    left, right = figure.subplots(1, 2)
    left.set(xlabel="bits per pixel (estimate)", ylabel="PSNR, RGB (dB)")
    shown = first if len(first) <= MOST_CURVES else [first[i * (len(first) - 1) // (MOST_CURVES - 1)] for i in range(8)]
    shades = colour.colormaps["viridis_r"]
    for i, row in enumerate(shown):
        shade = shades(0.1 + 0.9 * i / max(len(shown) - 1, 1))
        left.plot(*zip(*row.points, strict=True), color=shade, marker=".", label=f"{row.samples:,} crops")
    for (name, curve), line in zip(anchors.items(), itertools.cycle(("--", ":", "-.")), strict=False):
        left.plot(*zip(*sorted(curve), strict=True), color="0.5", linestyle=line, linewidth=1, label=name)
    shown_points = [point for row in shown for point in row.points]  # anchors may go on outside
    left.set_xlim(0, 1.15 * max(bpp for bpp, _ in shown_points))
    left.set_ylim(min(psnr for _, psnr in shown_points) - 1, max(psnr for _, psnr in shown_points) + 2)
    right.set(xlabel="crops seen", ylabel="BD-rate (%)")
    for label, rows in runs.items():
        for name, curve in (anchors or {f"{first[-1].samples:,} crops": first[-1].points}).items():
            changes = [(samples, value) for samples, value in over_samples(rows, curve) if value is not None]
            if changes:
                right.plot(*zip(*changes, strict=True), marker=".", label=f"{label} against {name}")
    right.xaxis.set_major_formatter("{x:,.0f}")
    right.axhline(0, color="0.5", linewidth=1)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    try:
        with atomic_write(path, overwrite=True) as file:
            figure.savefig(file, format="png", dpi=120)
    except OSError as error:
        raise UsageError(f"cannot write the plot {path}: {error.strerror}") from error
