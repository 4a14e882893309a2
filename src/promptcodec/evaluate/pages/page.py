"""The page of results: packed results in a folder to Markdown, with figures and the commands that make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.stored import UNAVAILABLE, open_curve, stored_curves
from promptcodec.evaluate.families import as_curves, read_families
from promptcodec.evaluate.metrics import METRICS
from promptcodec.evaluate.packed import Results, unpack
from promptcodec.evaluate.pages.figures import bd_bars, latency_plot, storage_bars
from promptcodec.evaluate.pages.plots import rd_plot
from promptcodec.evaluate.pages.speed import speeds, times
from promptcodec.evaluate.pages.steered_page import range_parts, region_parts
from promptcodec.evaluate.results import Row
from promptcodec.evaluate.summary import RATES, BDRate, Summary, by_curve, is_ours, summarise
from promptcodec.system.atomic import atomic_write
from promptcodec.system.printable import valid_unicode

_COMPARED = ("psnr", "ms_ssim", "ssimulacra2", "lpips_alex", "dists")
_MEANS = ("psnr", "ms_ssim", "ssimulacra2", "psnr_yuv", "lpips_alex", "dists")


def render(folder: Path, output: Path, figures: bool = True) -> list[Path]:
    """Write the page, and with ``figures`` its pictures into ``figures/`` beside it; return what was written.

    Raises UsageError for a folder without packed results.
    """
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stem)
    if not paths:
        raise UsageError(f"there are no packed results (.json) in {folder}")
    page = _Page(folder, output, figures)
    parts = [f"# Results\n\nWritten by `python -m benchmarks.report {folder} -o {output}`; do not edit."]
    for path in paths:
        results = unpack(path)
        families = results.extra.get("families", [])
        page.options = "".join(f" --family '{family}'" for family in families)
        results = replace(results, rows=tuple(as_curves(results.rows, read_families(families))))
        if results.kind not in _KINDS:
            raise UsageError(f"{path}: there is no kind {results.kind!r} (known: {', '.join(_KINDS)})")
        measured = "\n".join(f"    {command}" for command in results.commands)
        head = f"## {results.title}\n\n{results.note}".strip()
        parts += [
            head,
            *([f"Measured by\n\n{measured}"] if measured else []),
            *_KINDS[results.kind](page, path, results),
        ]
    parts.append(_absent())
    with atomic_write(output, overwrite=True) as file:
        file.write(valid_unicode("\n\n".join(parts) + "\n").encode())
    return [output, *page.written]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


class _Page:
    def __init__(self, folder: Path, output: Path, figures: bool) -> None:
        self.folder, self.output, self.figures = folder, output, figures
        self.written: list[Path] = []
        self.options = ""  # that all commands of a section have

    def figure(self, name: str, caption: str, command: str, draw: Callable[[Path], None]) -> str:
        """Return the picture's Markdown, with the command that draws it."""
        path = self.output.parent / "figures" / f"{name}.png"
        if self.figures:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(path)
            self.written.append(path)
        return f"![{caption}](figures/{path.name})\n\n{caption}: `promptcodec plot {command}{self.options} -o {path}`"


def _rd(page: _Page, path: Path, results: Results) -> list[str]:
    names = results.extra.get("curves", [])
    stored = [open_curve(name) for name in names]
    drawn = [open_curve(name) for name in results.extra.get("drawn", [])]
    labels = list(by_curve(results.rows))
    several = sum(map(is_ours, labels)) > 1  # models of ours are compared with each other too
    summary = summarise(results.rows, [label for label in labels if several or not is_ours(label)], stored)
    curve_options = "".join(f" --curve {curve.name}" for curve in drawn)
    parts = []
    for metric in ("psnr", "ssimulacra2", "lpips_alex"):
        if any(row.metric(metric) is not None for row in results.rows):
            caption = f"{results.title}, {METRICS[metric].title} over rate"
            command = f"rd {path} --metric {metric}" + (curve_options if metric == "psnr" else "")
            draw = _rd_drawing(results, metric, drawn)
            parts.append(page.figure(f"{path.stem}-{metric}", caption, command, draw))
    for label in (label for label in summary.curves if is_ours(label)):
        metrics = [m for m in _MEANS if any(p.metric(m) is not None for p in summary.curves[label])]
        means = [
            [f"{p.setting:g}", f"{p.bpp:.4f}", *(METRICS[m].text(p.metric(m)) for m in metrics)]
            for p in summary.curves[label]
        ]
        pictures = len({row.sha256 for row in by_curve(results.rows)[label]})
        parts += [
            f"Means of **{label}** over {pictures} pictures, real files, header included "
            f"({_networks(by_curve(results.rows)[label][0])}). "
            "A metric measured at fewer settings or on fewer pictures is the mean of those.",
            table(["quality", "bpp", *(METRICS[m].head for m in metrics)], means),
            f"Bjøntegaard differences of {label}: BD-rate in % (negative: fewer bits at equal quality; over {pictures} "
            "pictures where no other count is given), BD-PSNR in dB; *italic* where the curves share less than half of "
            "the shorter one's range.",
            _differences(summary, label, pictures),
        ]
        command = f"bars {path} --codec {label}" + "".join(f" --curve {name}" for name in names)
        caption = f"BD-rates of {label}, {results.title}"
        name = f"{path.stem}-{label.partition(':')[2]}-bars" if several else f"{path.stem}-bars"
        parts.append(page.figure(name, caption, command, _bars_drawing(summary, label)))
        equal = [e for e in summary.equal_rates if e.codec == label]
        rows = [[a, *(_equal(summary, label, a, r) for r in RATES)] for a in dict.fromkeys(e.anchor for e in equal)]
        parts += [
            "Mean difference of PSNR at equal rate, and in how many of the pictures that reach it ours is better:",
            table(["against", *(f"{rate:g} bpp" for rate in RATES)], rows),
        ]
    return [*parts, _options(results)]


def _networks(row: Row) -> str:
    if "family" in row.options:
        return f"{len(row.options['family'])} models or adapters"
    return f"model {row.options['fingerprint']}"


def _rd_drawing(results: Results, metric: str, drawn: list) -> Callable[[Path], None]:  # type: ignore[type-arg]
    return lambda path: rd_plot(results.rows, path, [metric], drawn)


def _bars_drawing(summary: Summary, label: str) -> Callable[[Path], None]:
    return lambda path: bd_bars(summary, label, path)


def _differences(summary: Summary, label: str, pictures: int) -> str:
    entries = {(e.anchor, e.metric): e for e in summary.bd_rates if e.codec == label}
    metrics = [name for name in _COMPARED if any(metric == name for _, metric in entries)]
    rows = []
    for anchor in dict.fromkeys(anchor for anchor, _ in entries):
        cells = [_percent(entries.get((anchor, metric)), pictures) for metric in metrics]
        quality = entries[anchor, "psnr"].quality.quality if (anchor, "psnr") in entries else None
        kind = f"{anchor} (stored)" if anchor in stored_curves() else anchor
        rows.append([kind, *cells, _cell(quality, "+.2f")])
    return table(["against", *(f"BD-rate, {METRICS[m].title}" for m in metrics), "BD-PSNR"], rows)


def _percent(entry: BDRate | None, pictures: int) -> str:
    if entry is None or entry.result.percent is None:
        return "-"
    text = f"{entry.result.percent:+.1f} %"
    if entry.result.overlap < 0.5:
        text = f"*{text}*"
    return text if entry.pictures in (None, pictures) else f"{text} ({entry.pictures})"


def _equal(summary: Summary, label: str, anchor: str, bpp: float) -> str:
    (entry,) = (e for e in summary.equal_rates if (e.codec, e.anchor, e.bpp) == (label, anchor, bpp))
    if entry.psnr_difference is None:
        return "-"
    return f"{entry.psnr_difference:+.2f} dB, {entry.better} of {entry.comparable}"


def _options(results: Results) -> str:
    rows = []
    for label, members in by_curve(results.rows).items():
        if not is_ours(label):
            options = ", ".join(f"{key} {_flat(value)}" for key, value in members[0].options.items())
            settings = sorted({row.setting for row in members})
            counts = {s: len({r.sha256 for r in members if r.setting == s}) for s in settings}
            few = max(counts.values()) < len({row.sha256 for row in results.rows})
            pictures = f"{max(counts.values())} pictures" if few else "all"
            rows.append([label, members[0].version, options, ", ".join(f"{s:g}" for s in settings), pictures])
    return "Peers:\n\n" + table(["codec", "version", "options", "settings", "pictures"], rows)


def _flat(value: object) -> str:
    return " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _speed(page: _Page, path: Path, results: Results) -> list[str]:
    times_by_label = times(results.rows)
    rows = []
    for label, t in times_by_label.items():
        # The others take so little that what is seen is the metrics' own.
        peak = t.peak_mib if is_ours(label) else None
        cells = (f"{t.bpp:.2f}", f"{t.encode_s:.3f}", f"{t.decode_s:.3f}", _cell(peak, ".0f"))
        rows.append([label, t.pictures, *cells])
    heads = ["codec", "pictures", "bpp", "encode (s)", "decode (s)", "peak memory (MiB)"]
    parts = ["Medians a picture:", table(heads, rows)]
    rates = page.folder / results.extra["rates"]
    anchor = open_curve(results.extra["anchor"])
    measured = speeds(unpack(rates).rows, results.rows, anchor)
    command = f"latency {rates} {path} --anchor {anchor.name}"
    caption = f"BD-rate against {anchor.name} over decoding time"

    def draw(target: Path) -> None:
        latency_plot(measured, anchor.name, target)

    return [*parts, page.figure(f"{path.stem}-latency", caption, command, draw)]


def _equal_size(page: _Page, path: Path, results: Results) -> list[str]:
    """Compare every picture at one file size: PSNR by codec, with how far the codec's file is off that size."""
    labels = list(by_curve(results.rows))
    lossless = results.extra.get("lossless", {})
    rows = []
    for name in dict.fromkeys(row.picture for row in results.rows):
        measurements = {label: r for label, m in by_curve(results.rows).items() for r in m if r.picture == name}
        ours = next(row for label, row in measurements.items() if is_ours(label))
        cells = [
            _at_size(measurements[label].psnr, measurements[label].bytes, ours.bytes) if label in measurements else "-"
            for label in labels
        ]
        rows.append([name, f"{ours.bytes:,}", *(f"{lossless[name][k]:,}" for k in ("png", "webp")), *cells])
    return [
        "PSNR in dB, each codec at the setting whose file is closest to ours in size; in brackets how much larger or "
        "smaller that is where it is more than 5 %, because the codec goes no further or has no setting between.",
        table(["picture", "our bytes", "PNG", "lossless WebP", *labels], rows),
    ]


def _at_size(psnr: float, size: int, ours: int) -> str:
    off = size / ours - 1
    return f"{psnr:.1f}" + (f" ({100 * off:+.0f} %)" if abs(off) > 0.05 else "")


def _jobs(page: _Page, path: Path, results: Results) -> list[str]:
    rows = [[r["jobs"], r["rows"], f"{r['seconds']:.1f}", f"{r['mib']:.0f}"] for r in results.extra["runs"]]
    return [table(["jobs", "rows", "seconds", "most memory, all processes (MiB)"], rows)]


def _region(page: _Page, path: Path, results: Results) -> list[str]:
    return region_parts(page.figure, table, path, results)


def _range(page: _Page, path: Path, results: Results) -> list[str]:
    parts = range_parts(page.figure, table, path, results)
    if "peers" in results.extra:
        peers = [row for row in unpack(page.folder / results.extra["peers"]).rows if "fingerprint" not in row.options]
        label = list(by_curve(results.rows))[-1]
        ours = by_curve(results.rows)[label]
        pictures = len({row.sha256 for row in ours})
        parts += [
            f"Bjøntegaard differences of {label} against the peers of `{results.extra['peers']}`, as there:",
            _differences(summarise([*ours, *peers]), label, pictures),
        ]
    return parts


def _storage(page: _Page, path: Path, results: Results) -> list[str]:
    """Compare with one anchor, a stored curve or a codec of the results: BD-rates, and what must be stored for them."""
    anchor = results.extra["anchor"]
    measured = anchor in by_curve(results.rows)
    stored = [] if measured else [open_curve(anchor)]
    summary = summarise(results.rows, [anchor] if measured else [], stored)
    rows = []
    for label in dict.fromkeys(e.codec for e in summary.bd_rates):
        percents = {e.metric: e.result.percent for e in summary.bd_rates if e.codec == label}
        size = summary.parameters.get(label)
        cells = [_cell(percents.get(metric), "+.1f") for metric in ("psnr", "ms_ssim")]
        rows.append([label, *cells, "-" if size is None else f"{size / 1e6:.2f}"])
    caption = f"{results.title}: BD-rates against {anchor}, and parameters stored"
    command = f"storage {path} --anchor {anchor}"
    drawn = page.figure(f"{path.stem}-storage", caption, command, lambda target: storage_bars(summary, anchor, target))
    return [drawn, table(["codec", "BD-rate, PSNR (%)", "BD-rate, MS-SSIM (%)", "parameters (M)"], rows)]


def _text(page: _Page, path: Path, results: Results) -> list[str]:
    return []


def _absent() -> str:
    lines = "\n".join(f"- {name}: {paper}" for name, paper in UNAVAILABLE.items())
    sources = "\n".join(f"- {source}" for source in dict.fromkeys(c.source for c in stored_curves().values()))
    return (
        f"## Peers without figures here\n\nPlotted by the papers, and neither built nor stored:\n\n{lines}\n\n"
        f"Where the stored curves come from (`promptcodec curves`):\n\n{sources}"
    )


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


_KINDS: dict[str, Callable[[_Page, Path, Results], list[str]]] = {
    "rd": _rd, "speed": _speed, "equal-size": _equal_size, "jobs": _jobs, "text": _text, "region": _region,
    "range": _range, "storage": _storage,
}  # fmt: skip
