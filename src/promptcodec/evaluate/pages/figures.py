"""Drawings of comparisons: bars of BD-rates, and BD-rate against the time that decoding takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptcodec.errors import UsageError
from promptcodec.evaluate.metrics import METRICS
from promptcodec.evaluate.pages.plots import new_figure, save_figure
from promptcodec.evaluate.summary import Summary

_MARKERS = "osD^vPX"
_PANELS = ("psnr", "ms_ssim", "ssimulacra2", "lpips_alex", "dists")


@dataclass(frozen=True)
class Speed:
    """``bd_rate`` in per cent against the anchor, ``decode_s`` seconds for a picture."""

    bd_rate: float
    decode_s: float


PUBLISHED_004 = {
    "ELIC": Speed(-3.10, 0.335),
    "MambaVC": Speed(-8.11, 0.425),
    "MLIC++": Speed(-11.97, 0.547),
    "TCM-L": Speed(-10.04, 0.542),
    "S2C-Identity": Speed(-9.70, 0.346),
    "S2C-Conv": Speed(-12.65, 0.356),
    "S2C-Attention": Speed(-12.56, 0.360),
    "S2C-Hybrid-S": Speed(-13.35, 0.357),
    "S2C-Hybrid-M": Speed(-13.85, 0.358),
    "S2C-Hybrid-L": Speed(-14.28, 0.362),
}
"""Table 1 of paper 004: BD-rate on Kodak against VTM-21.0, decoding a 2K picture on the authors' GPU. FTIC, at more
than 10 s, is left out there too."""


def bd_bars(summary: Summary, codec: str, path: Path) -> None:
    """Plot the BD-rate of one codec against each anchor, a panel a metric (as Fig. 7 of paper 001, whose anchor is
    fixed).

    Bars to the left are bits saved. Raises UsageError where the codec has no BD-rate, and as ``plots.rd_plot``.
    """
    entries = [e for e in summary.bd_rates if e.codec == codec and e.result.percent is not None]
    metrics = [name for name in _PANELS if any(e.metric == name for e in entries)]
    if not entries:
        raise UsageError(f"there is no BD-rate of {codec!r} (codecs: {', '.join(summary.curves)})")
    anchors = list(dict.fromkeys(e.anchor for e in entries))
    figure = new_figure(2.7 * len(metrics) + 2, 0.27 * len(anchors) + 1.2)
    first = None
    for index, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), index + 1, sharey=first)
        axes.set(title=METRICS[metric].title, xlabel="BD-rate (%)")
        first = first or axes
        percents = {e.anchor: e.result.percent or 0.0 for e in entries if e.metric == metric}
        values = [percents.get(anchor, 0.0) for anchor in anchors]
        texts = [f"{percents[anchor]:+.0f}" if anchor in percents else "" for anchor in anchors]
        colours = ["tab:green" if value < 0 else "tab:red" for value in values]
        _draw_bars(axes, anchors, values, texts, colours, named=index == 0)
        axes.margins(x=0.2)
    assert first is not None
    first.invert_yaxis()
    save_figure(figure, path)


def storage_bars(summary: Summary, anchor: str, path: Path) -> None:
    """Plot the BD-rate of every codec against one anchor, and beside it how many parameters must be stored to have all
    of its rates (paper 001, Fig. 7): a panel a metric, and one for the size.

    Raises UsageError where no codec has a BD-rate against the anchor, and as ``plots.rd_plot``.
    """
    entries = [e for e in summary.bd_rates if e.anchor == anchor and e.result.percent is not None]
    metrics = [name for name in _PANELS if any(e.metric == name for e in entries)]
    if not entries:
        raise UsageError(f"no codec has a BD-rate against {anchor!r} (codecs: {', '.join(summary.curves)})")
    codecs = list(dict.fromkeys(e.codec for e in entries))
    figure = new_figure(2.7 * (len(metrics) + 1) + 2, 0.32 * len(codecs) + 1.4)
    first = None
    for index, metric in enumerate([*metrics, ""]):
        axes = figure.add_subplot(1, len(metrics) + 1, index + 1, sharey=first)
        first = first or axes
        if metric:
            axes.set(title=METRICS[metric].title, xlabel=f"BD-rate (%)\nagainst {anchor}")
            values = {e.codec: e.result.percent for e in entries if e.metric == metric}
            colours = ["tab:green" if (values.get(codec) or 0.0) < 0 else "tab:red" for codec in codecs]
            form = "{:+.1f}"
        else:
            axes.set(title="stored for all rates", xlabel="parameters (millions)")
            values = {codec: summary.parameters[codec] / 1e6 for codec in codecs if codec in summary.parameters}
            colours = ["tab:blue"] * len(codecs)
            form = "{:.2f}"
        texts = ["–" if (value := values.get(codec)) is None else form.format(value) for codec in codecs]
        _draw_bars(axes, codecs, [values.get(codec) or 0.0 for codec in codecs], texts, colours, named=index == 0)
        axes.margins(x=0.25)
    assert first is not None
    first.invert_yaxis()
    save_figure(figure, path)


def _draw_bars(
    axes: Any, names: Sequence[str], lengths: Sequence[float], texts: Sequence[str], colours: Sequence[str], named: bool
) -> None:
    """Draw a panel of horizontal bars from zero with a text at the end of each; ``named``: whether their names stand
    at the left.
    """
    axes.bar_label(axes.barh(names, lengths, color=colours), texts, padding=2, fontsize=8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.tick_params(labelsize=8, labelleft=named)


def latency_plot(measured: Mapping[str, Speed], anchor: str, path: Path) -> None:
    """Plot BD-rate against decoding time (paper 004, Fig. 1 b): what was measured, and beside it what the paper
    printed.

    The panels share no axis: their machines, pictures and anchors differ. Raises UsageError without anything measured.
    """
    if not measured:
        raise UsageError("there is no codec with a BD-rate and a decoding time")
    panels = [
        (f"measured here, BD-rate against {anchor}", measured, "decoding, s a picture, CPU", "log"),
        ("paper 004, against VTM-21.0", PUBLISHED_004, "decoding, s a 2K picture, GPU", "linear"),
    ]
    figure = new_figure(12.5, 4.4)
    for index, (title, points, label, scale) in enumerate(panels):
        axes = figure.add_subplot(1, 2, index + 1, title=title, xlabel=label, ylabel="BD-rate, PSNR (%)", xscale=scale)
        for number, (name, speed) in enumerate(sorted(points.items(), key=lambda p: -p[1].bd_rate)):
            ours = name.startswith("promptcodec")
            marker = "*" if ours else _MARKERS[number % len(_MARKERS)]
            axes.scatter(speed.decode_s, speed.bd_rate, marker=marker, s=110 if ours else 40, label=name)
        axes.margins(x=0.1, y=0.1)
        axes.grid(alpha=0.3)
        # Codecs lie too close for names beside the points; the legend is in the order of the points from the top down.
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    save_figure(figure, path)
