"""``promptcodec plot training``: rate and quality of training runs over the samples that they have seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from promptcodec.cli.streams import say
from promptcodec.errors import UsageError
from promptcodec.evaluate.data.stored import StoredCurve
from promptcodec.system.printable import printable


def draw(runs: Sequence[Path], output: Path, dataset: str | None, against: Sequence[StoredCurve]) -> None:
    """Plot validation curves of runs over samples, and their BD-rate against other curves; print the latter."""
    from promptcodec.evaluate.data.rd_log import TRAIN, read_rd
    from promptcodec.evaluate.pages.training_plot import over_samples, training_plot
    from promptcodec.train.run.gap import gaps, phrase

    anchors = {curve.name: [(p.bpp, p.psnr) for p in curve.points if p.psnr is not None] for curve in against}
    chosen, gap_texts = {}, []
    for run in runs:
        rows = read_rd(run)
        names = sorted({row.dataset for row in rows})
        others = [name for name in names if name != TRAIN]
        shown = dataset or (others[0] if len(others) == 1 else "")
        if shown not in names:
            raise UsageError(f"{run} has the sets {', '.join(names)}: choose one with --dataset")
        label = printable(run.stem if run.suffix else run.name)
        chosen[label] = [row for row in rows if row.dataset == shown]
        if shown != TRAIN:
            gap_texts += [f"{label} {gap.samples:>12,} crops  {phrase(gap, shown)}" for gap in gaps(rows, shown)]
    training_plot(chosen, anchors, output)
    for label, rows in chosen.items():
        for name, curve in anchors.items():
            for samples, percent in over_samples(rows, curve):
                say(f"{label} {samples:>12,} crops  {name} {'–' if percent is None else f'{percent:+.1f} %'}")
    for text in (*gap_texts, str(output)):
        say(text)
