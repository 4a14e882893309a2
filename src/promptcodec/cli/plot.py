"""``promptcodec plot``: rate and quality of training runs over the samples that they have seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptcodec.errors import UsageError


def command(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, or their validation.jsonl.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The plot, a PNG.")] = Path("training.png"),
    dataset: Annotated[str | None, typer.Option("--set", help="Which validation set, where there are several.")] = None,
    against: Annotated[
        str, typer.Option(help="Stored curves (see `promptcodec curves`) or CompressAI's JSON files, commas between.")
    ] = "",
) -> None:
    """Plot validation curves of runs over samples, and their BD-rate against other curves; print the latter."""
    from promptcodec.evaluate.stored import open_curve
    from promptcodec.evaluate.training_plot import over_samples, training_plot
    from promptcodec.train.rd_log import read_rd

    anchors = {}
    for name in filter(None, against.split(",")):
        points = [(p.bpp, p.psnr) for p in open_curve(name).points if p.psnr is not None]
        anchors[name] = points
    chosen = {}
    for run in runs:
        rows = read_rd(run)
        names = sorted({row.dataset for row in rows})
        wanted = dataset or (names[0] if len(names) == 1 else "")
        if wanted not in names:
            raise UsageError(f"{run} has the sets {', '.join(names)}: choose one with --set")
        chosen[run.stem if run.suffix else run.name] = [row for row in rows if row.dataset == wanted]
    training_plot(chosen, anchors, output)
    for label, rows in chosen.items():
        for name, curve in anchors.items():
            for samples, percent in over_samples(rows, curve):
                print(f"{label} {samples:>12,} crops  {name} {'–' if percent is None else f'{percent:+.1f} %'}")
    print(output)
