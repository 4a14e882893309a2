"""What a run logs about validation, and its plot."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.evaluate.training_plot import over_samples, training_plot
from promptcodec.train.loop import Trainer
from promptcodec.train.rd_log import NAME, add_rd, read_rd
from promptcodec.train.recipe import Recipe
from promptcodec.train.validation import validate


def test_a_run_logs_rd_over_samples(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((pictures / "0.png").read_bytes())
    recipe = dataclasses.replace(
        recipe, samples=40, validation=(str(pictures), str(other)), validation_every=16, linear_start=False
    )
    trainer = Trainer(recipe, tmp_path / "run", say=lambda _: None)
    trainer.begin()
    trainer.run()
    rows = read_rd(tmp_path / "run")
    assert [(row.dataset, row.samples) for row in rows] == [
        (name, samples) for name in ("other", "pictures") for samples in (16, 32, 40)
    ]
    (expected,) = (row for row in rows if row.dataset == "other" and row.samples == 40)
    found = validate(trainer.averaged(), [np.asarray(Image.open(other / "0.png"))])
    assert list(expected.points) == [(row["bpp"], row["psnr"]) for row in found]
    assert trainer.validation[0]["bpp"] == rows[-1].points[0][0]  # the first set's, for the ledger


def _curve(factor: float) -> list[dict[str, float]]:
    return [{"q": i / 3, "bpp": factor * 0.2 * 2**i, "psnr": 28.0 + 3 * i} for i in range(4)]


def test_the_plot_and_its_figures(tmp_path: Path) -> None:
    for samples, factor in ((1000, 2.0), (500, 3.0), (2000, 1.0)):
        add_rd(tmp_path, samples, "sets/kodak", _curve(factor))
        add_rd(tmp_path, samples, "val.tar", _curve(factor))
    add_rd(tmp_path, 2000, "val.tar", _curve(1.5))  # the same samples again: the last counts
    rows = [row for row in read_rd(tmp_path) if row.dataset == "val"]
    assert {row.dataset for row in read_rd(tmp_path)} == {"kodak", "val"}
    anchor = [(row["bpp"], row["psnr"]) for row in _curve(1.0)]
    found = [(samples, round(percent or 0, 6)) for samples, percent in over_samples(rows, anchor)]
    assert found == [(500, 200.0), (1000, 100.0), (2000, 50.0)]
    training_plot({"run": rows}, {"flat": anchor}, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.width > 1000 and len(image.convert("RGB").getcolors(2**20) or []) > 50


def test_logs_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="validation_every write it"):
        read_rd(tmp_path)
    (tmp_path / NAME).write_text('{"samples": 3}\n')
    with pytest.raises(UsageError, match="is no log of validations"):
        read_rd(tmp_path)


def test_one_set_may_be_named_without_a_list() -> None:
    assert Recipe.read({"validation": "val"}, "test").validation == ("val",)
