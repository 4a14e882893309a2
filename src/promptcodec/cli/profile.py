"""``promptcodec profile``: a model's parameters, multiply-accumulates and times by part; the papers' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from promptcodec.batch import runtime
from promptcodec.cli import options
from promptcodec.cli.streams import say, say_record
from promptcodec.errors import UsageError

if TYPE_CHECKING:
    from promptcodec.evaluate.cost.paper_tables import Figure
    from promptcodec.model.base import CompressionModel

Name = Annotated[str | None, typer.Argument(help="A preset, a shipped model, or a model file.", show_default=False)]
Papers = Annotated[bool, typer.Option("--papers", help="What papers 000 to 004 print of complexity instead.")]
Size = Annotated[str, typer.Option(help="WIDTHxHEIGHT of the picture.")]
Time = Annotated[
    bool, typer.Option("--time", help="Also run every layer and tell its seconds, and the peak of memory.")
]


def command(
    model: Name = None, papers: Papers = False, size: Size = "768x512", times: Time = False,
    threads: options.Threads = 0, as_json: options.Json = False,
) -> None:  # fmt: skip
    """Count a model's parameters and multiply-accumulates, truly and as papers 002 and 004 count them."""
    if papers == (model is not None):
        raise UsageError("give either a model or --papers")
    runtime.prepare(threads)
    if papers:
        _print_papers(as_json)
        return
    width, height = _size(size)
    from promptcodec.evaluate.cost.complexity import parts, total

    network = _network(str(model), times)
    counted = parts(network, height, width)
    from promptcodec.evaluate.cost.layer_times import layer_times, network_memory, weights_mib

    memory = network_memory(network, height, width) if times else None
    seconds = layer_times(network, height, width) if times else {}
    keys = list(dict.fromkeys((part.network, part.kind) for part in counted))
    lines = [(key, total([p for p in counted if (p.network, p.kind) == key])) for key in keys]
    if not as_json:
        say(f"{network.config.name}, {width}x{height}: kMAC per pixel of the picture")
        say(f"{'network':8} {'kind':17}{'parameters':>12}{'true':>10}{'needed':>10}{'paper 002':>10}{'paper 004':>10}")
    for (name, kind), part in [*lines, (("total", ""), total(counted))]:
        scale = 1e3 * height * width
        figures = {
            "true": part.macs.true / scale, "needed": part.macs.needed / scale,
            "paper002": part.macs.paper002 / scale, "paper004": part.macs.paper004 / scale,
        }  # fmt: skip
        spent = seconds.get((name, kind))
        if as_json:
            row: dict[str, object] = {"network": name, "kind": kind, "parameters": part.parameters}
            row |= {k: round(v, 4) for k, v in figures.items()} | ({"seconds": spent} if spent else {})
            say_record("profile", "part", row)
        else:
            cells = "".join(f"{value:10.3f}" for value in figures.values())
            say(f"{name:8} {kind:17}{part.parameters:12,}{cells}" + (f"{1e3 * spent:10.1f} ms" if spent else ""))
    mebibytes = {"weights_mib": weights_mib(network)} | {f"{side}_mib": value for side, value in (memory or {}).items()}
    if as_json:
        say_record("profile", "memory", mebibytes)
    else:
        say("memory: " + ", ".join(f"{name.removesuffix('_mib')} {value:.1f} MiB" for name, value in mebibytes.items()))


def _network(name: str, weights: bool) -> CompressionModel:
    """Return the model ``name``; a preset has random weights, or none at all where they are not needed."""
    from promptcodec.evaluate.cost.complexity import build
    from promptcodec.model.base import CompressionModel
    from promptcodec.model.presets.registry import CONFIGURATIONS
    from promptcodec.store.model_file import load_model
    from promptcodec.store.shipped import find_model

    if name in CONFIGURATIONS:
        return CompressionModel(CONFIGURATIONS[name]()).eval() if weights else build(CONFIGURATIONS[name]())
    return load_model(find_model(name)).network


def _print_papers(as_json: bool) -> None:
    from promptcodec.evaluate.cost.paper_tables import COLUMNS, table

    for paper, columns in COLUMNS.items():
        if not as_json:
            say(f"Paper {paper}: printed / counted here" + "".join(f"{column:>24}" for column in columns))
        for row in table(paper):
            if as_json:
                line = {"paper": paper, "table": row.table, "method": row.method, "preset": row.preset}
                figures = {c: [f.printed, f.ours] for c, f in zip(columns, row.cells, strict=True)}
                say_record("profile", "paper", line | figures)
            else:
                mark = "" if row.preset else "  (not built here)"
                cells = "".join(f"{_cell(figure):>24}" for figure in row.cells)
                say(f"{row.table:7}{row.method:30}{cells}{mark}")


def _cell(figure: Figure) -> str:
    return " / ".join("-" if value is None else f"{value:.2f}" for value in (figure.printed, figure.ours))


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1:
        raise UsageError(f"--size {text} is not WIDTHxHEIGHT, two whole numbers from 1 up")
    return width, height
