"""Fit a power law to a trunk's validations, and say which rate it points to after more crops.

    python -m benchmarks.experiments.rate_law [--crops 150000 300000 650000 1300000]

Reads the logs of ``nano`` and of the trunk of ``small`` in benchmarks/results/training/ (``nano``, ``small``,
``small-decayed`` for branches whose learning rate has fallen to zero, and ``small-resumed`` for the trunk that goes on
from the end of such a branch). Rates are BD-rates against the last ``nano`` on
the validation crops. The law is rate = a * crops ** -b, least squares on logarithms over the trunk's rows after
``--skip`` crops; its range is that of the laws with any one row left out. Writes docs/figures/small-training.png and
the table in docs/training.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.marked import replace_marked
from promptcodec.evaluate.bdrate import bd_rate
from promptcodec.evaluate.data.rd_log import NAME, read_rd
from promptcodec.evaluate.pages.page import table
from promptcodec.evaluate.pages.plots import new_figure, save_figure

ROOT = Path(__file__).resolve().parents[2]
LOGS, PAGE = ROOT / "benchmarks" / "results" / "training", ROOT / "docs" / "training.md"
FIGURE = ROOT / "docs" / "figures" / "small-training.png"
CROPS_A_SECOND = {"nano": 9.3, "small": 4.4}  # 256 x 256, one core of an x86-64 server with AMX, 16 a step

RESUMED_AT = 66_000  # crops behind the weights that ``small-resumed`` began with, those of small 0.1

Points = list[tuple[int, float]]  # crops, and the rate at equal PSNR, that of the reference being 1


@dataclass(frozen=True)
class PowerLaw:
    """rate = a * crops ** -b."""

    a: float
    b: float

    def at(self, crops: float) -> float:
        """The rate after so many crops."""
        return float(self.a * crops**-self.b)


def fit(points: Sequence[tuple[int, float]]) -> PowerLaw:
    """The law that comes closest to the points, by least squares on logarithms."""
    crops, rates = (np.log(np.array(column, dtype=float)) for column in zip(*points, strict=True))
    slope, offset = np.polyfit(crops, rates, 1)
    return PowerLaw(float(np.exp(offset)), float(-slope))


def shortened(points: Sequence[tuple[int, float]]) -> list[PowerLaw]:
    """The laws that the first half of the points gave, and each later one added."""
    return [fit(points[:count]) for count in range(max(3, len(points) // 2), len(points) + 1)]


def rates(run: str, dataset: str) -> Points:
    """The points of a run in ``LOGS``; none where there is no log."""
    if not (LOGS / run / NAME).is_file():
        return []
    reference = [row for row in read_rd(LOGS / "nano") if row.dataset == dataset][-1]
    curves = [(row.samples, row.points) for row in read_rd(LOGS / run) if row.dataset == dataset]
    changes = ((samples, bd_rate(points, reference.points).percent) for samples, points in curves)
    return [(samples, 1 + percent / 100) for samples, percent in changes if percent is not None]


def percent(rate: float) -> str:
    """A rate as the change against the reference."""
    return f"{100 * (rate - 1):+.1f} %"


def draw(nano: Points, trunk: Points, decayed: Points, resumed: Points, law: PowerLaw, last: int) -> None:
    """On the left over crops, on the right over processor seconds, both since the first crop of ``nano``."""
    figure = new_figure(10, 4.2)
    before = nano[-1][0]
    future = np.geomspace(trunk[0][0], last, 50)
    for index, label in enumerate(("crops of 256² seen", "hours of one core")):
        axes = figure.add_subplot(1, 2, index + 1)
        a_crop = [1 / 3600 / CROPS_A_SECOND[name] if index else 1.0 for name in ("nano", "small")]
        start = before * a_crop[0]
        axes.plot([n * a_crop[0] for n, _ in nano], [100 * (r - 1) for _, r in nano], "o-", label="nano")
        axes.plot([start + n * a_crop[1] for n, _ in trunk], [100 * (r - 1) for _, r in trunk], ".-", label="small")
        if decayed:
            axes.plot([start + n * a_crop[1] for n, _ in decayed], [100 * (r - 1) for _, r in decayed], "*",
                      markersize=10, label="small, learning rate fallen to zero")  # fmt: skip
        if resumed:
            axes.plot([start + n * a_crop[1] for n, _ in resumed], [100 * (r - 1) for _, r in resumed], ".-",
                      label="small, resumed from there")  # fmt: skip
        curve = [100 * (law.at(n) - 1) for n in future]
        axes.plot(start + future * a_crop[1], curve, ":", color="0.5", label="power law of small")
        axes.set(xlabel=label, ylabel="BD-rate against nano 0.5 (%)", ylim=(min(curve) - 2, 12))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.locator_params(axis="x", nbins=5)  # so that numbers of seven digits stand apart
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, FIGURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crops", type=int, nargs="+", default=[150_000, 300_000, 650_000, 1_300_000])
    parser.add_argument("--skip", type=int, default=12_000, help="crops before which rows do not count")
    parser.add_argument("--dataset", default="val")
    options = parser.parse_args()
    nano, trunk, decayed = (rates(run, options.dataset) for run in ("nano", "small", "small-decayed"))
    resumed = [(RESUMED_AT + crops, rate) for crops, rate in rates("small-resumed", options.dataset)]
    settled = [point for point in trunk if point[0] > options.skip]
    law, others = fit(settled), shortened(settled)
    rows: list[Sequence[object]] = [[f"{crops:,}", percent(rate), percent(law.at(crops))] for crops, rate in trunk]
    rows += [[f"{crops:,}, learning rate fallen to zero", percent(rate), "-"] for crops, rate in decayed]
    rows += [
        [f"{crops:,}, resumed from {RESUMED_AT:,}", percent(rate), percent(law.at(crops))] for crops, rate in resumed
    ]
    for crops in options.crops:
        ends = sorted(other.at(crops) for other in others)
        rows.append([f"{crops:,}", "-", f"{percent(law.at(crops))} ({percent(ends[0])} to {percent(ends[-1])})"])
    text = (
        f"Rate of `small` at equal PSNR against `nano` 0.5 on the validation crops. The law is fitted to the "
        f"{len(settled)} rows after {options.skip:,} crops, at a constant learning rate: rate ∝ crops^−{law.b:.4f}; in "
        "brackets what the first half of these rows predicted, and each later one added: how far the law has moved, "
        "not how far it may yet.\n\n"
    )
    replace_marked(PAGE, "rate-law", text + table(["crops of `small`", "measured", "power law"], rows))
    draw(nano, trunk, decayed, resumed, law, max(options.crops))
    print(FIGURE)


if __name__ == "__main__":
    main()
