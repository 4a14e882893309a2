"""The summary as tables for people."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptcodec.evaluate.summary import Summary
from promptcodec.system.printable import printable

_NAMED = 2  # pairs of codecs that a warning names


def print_summary(summary: Summary, console: Console) -> None:
    """Print the mean curves, BD-rates and comparisons at equal rate, then every warning."""
    console.print(_curves(summary))
    if summary.bd_rates:
        console.print(_bd_rates(summary))
    if summary.equal_rates:
        console.print(_equal_rates(summary))
    for warning in [*summary.warnings, *_bd_rate_warnings(summary)]:
        console.print(printable(f"warning: {warning}"), markup=False, highlight=False, soft_wrap=True)


def table(title: str, left: int, *columns: str) -> Table:
    """Return the first ``left`` columns hold words, the others numbers."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right")
    return table


def word(name: str) -> Text:
    """Return a name, which may be that of a file, without what rich or a terminal would take for markup."""
    return Text(printable(name))


def _curves(summary: Summary) -> Table:
    title = f"Means over {summary.pictures} pictures"
    rows = table(title, 1, "codec", "setting", "pictures", "bpp", "PSNR dB", "MS-SSIM", "encode s", "decode s")
    for label, points in summary.curves.items():
        for point in points:
            similarity = "-" if point.ms_ssim is None else f"{point.ms_ssim:.4f}"
            quality = (f"{point.bpp:.4f}", f"{point.psnr:.2f}", similarity)
            seconds = (f"{point.encode_s:.3f}", f"{point.decode_s:.3f}")
            rows.add_row(word(label), f"{point.setting:g}", str(point.pictures), *quality, *seconds)
        rows.add_section()
    return rows


def _bd_rates(summary: Summary) -> Table:
    title = "Bjøntegaard differences: rate in % (negative: fewer bits), quality in the metric's unit (MS-SSIM in dB)"
    rows = table(title, 3, "codec", "anchor", "metric", "pictures", "BD-rate", "overlap", "BD-quality", "overlap")
    for column in rows.columns[:3]:
        column.no_wrap = True
    for entry in summary.bd_rates:
        result, quality = entry.result, entry.quality
        percent = "-" if result.percent is None else f"{result.percent:+.1f}"
        difference = "-" if quality.quality is None else f"{quality.quality:+.3f}"
        pictures = "stored" if entry.pictures is None else str(entry.pictures)
        cells = (pictures, percent, f"{result.overlap:.0%}", difference, f"{quality.overlap:.0%}")
        rows.add_row(word(entry.codec), word(entry.anchor), entry.metric, *cells)
    return rows


def _equal_rates(summary: Summary) -> Table:
    title = "PSNR at equal rate"
    rows = table(title, 2, "codec", "against", "bpp", "comparable pictures", "better on", "mean difference dB")
    for entry in summary.equal_rates:
        difference = "-" if entry.psnr_difference is None else f"{entry.psnr_difference:+.2f}"
        cells = (f"{entry.bpp:g}", str(entry.comparable), str(entry.better), difference)
        rows.add_row(word(entry.codec), word(entry.anchor), *cells)
    return rows


def _bd_rate_warnings(summary: Summary) -> list[str]:
    """Return each warning once, with what it is about: a few settings make every pair of codecs a warning."""
    about: dict[str, list[str]] = {}
    for entry in summary.bd_rates:
        for warning in dict.fromkeys([*entry.result.warnings, *entry.quality.warnings]):
            about.setdefault(warning, []).append(f"{entry.codec} against {entry.anchor} ({entry.metric})")
    return [f"{_few(names)}: {warning}" for warning, names in about.items()]


def _few(names: list[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
