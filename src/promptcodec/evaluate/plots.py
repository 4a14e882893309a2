"""Rate-distortion plots."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluate.extras import import_extra
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import by_curve, mean_points, quality_curve

_AXIS = {"psnr": "PSNR, RGB (dB)", "ms_ssim": "MS-SSIM, RGB (dB)"}


def rd_plot(rows: Iterable[Row], path: Path, metric: str = "psnr") -> None:
    """Writes the mean curve of every codec as a PNG.

    Raises UsageError where matplotlib is missing or ``path`` cannot be written.
    """
    figure_module = import_extra("matplotlib.figure", "matplotlib")
    figure = figure_module.Figure(figsize=(8, 5.5), layout="constrained")  # pyplot would keep state
    axes = figure.add_subplot(xlabel="bits per pixel", ylabel=_AXIS[metric])
    for label, members in by_curve(rows).items():
        curve = quality_curve(mean_points(members), metric)
        axes.plot([bpp for bpp, _ in curve], [quality for _, quality in curve], marker="o", label=label)
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write the plot {path}: {error.strerror}") from error
