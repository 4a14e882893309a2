"""What a run logs about validation, and its plot."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptcodec.cli.plot_training import draw
from promptcodec.errors import UsageError
from promptcodec.evaluate.data.rd_log import NAME, TRAIN, add_rd, read_rd
from promptcodec.evaluate.pages.training_plot import over_samples, training_plot
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.run.gap import gaps
from promptcodec.train.validation import validate


def test_a_run_logs_rd_over_samples(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((pictures / "0.png").read_bytes())
    recipe = dataclasses.replace(
        recipe, samples=40, validation=(str(pictures), str(other)), validation_every=16, linear_start=False
    )
    told: list[str] = []
    trainer = build_trainer(recipe, tmp_path / "run", say=told.append)
    trainer.begin()
    told.clear()
    trainer.train()
    rows = read_rd(tmp_path / "run")
    assert [(row.dataset, row.samples) for row in rows] == [
        (name, samples) for name in ("other", "pictures", "train") for samples in (16, 32, 40)
    ]
    (expected,) = (row for row in rows if row.dataset == "other" and row.samples == 40)
    found = validate(trainer.averaged(), [np.asarray(Image.open(other / "0.png"))])
    assert list(expected.points) == [(row["bpp"], row["psnr"]) for row in found]
    by_set = {row.dataset: row.points for row in rows}  # the last ones
    assert by_set["train"] == by_set["pictures"]  # all of them are in the sample, whole
    assert trainer.validation[0]["bpp"] == by_set["pictures"][0][0]  # the first set's, for the ledger
    logged = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    found_gaps = [row["gap"] for row in logged if "gap" in row]
    assert [gap["samples"] for gap in found_gaps] == [16, 32, 40]
    assert (found_gaps[0]["validation"], found_gaps[0]["train"]) == (0, 0)
    assert found_gaps[1]["validation"] == found_gaps[1]["train"] != 0
    assert len(told) == 3 and "since the first validation: pictures +0.00 %, train +0.00 %, gap +0.00" in told[0]


def test_overfitting_shows_as_a_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The training sample is harder, which says nothing; that it goes on gaining when validation does not, does."""
    for samples, validation, train in ((1000, 2.0, 3.0), (2000, 1.0, 1.5), (3000, 1.0, 1.2)):
        add_rd(tmp_path, samples, "sets/val", _curve(validation))
        add_rd(tmp_path, samples, TRAIN, _curve(train))
    add_rd(tmp_path, 4000, "sets/val", _curve(1.0))  # killed before the sample was measured
    found = gaps(read_rd(tmp_path), "val")
    assert [(gap.samples, gap.validation, gap.train) for gap in found] == [
        (1000, pytest.approx(0), pytest.approx(0)),
        (2000, pytest.approx(-50), pytest.approx(-50)),
        (3000, pytest.approx(-50), pytest.approx(-60)),
    ]
    assert [gap.points for gap in found] == [pytest.approx(0), pytest.approx(0), pytest.approx(10)]
    draw([tmp_path], tmp_path / "plot.png", None, [])  # val is the only set to choose
    told = capsys.readouterr().out.splitlines()
    assert (
        "3,000 crops  rate at equal PSNR since the first validation: val -50.00 %, train -60.00 %, gap +10.00"
        in told[2]
    )
    assert len(told) == 4
    add_rd(tmp_path, 5000, "sets/one-rate", _curve(1.0)[:1])
    add_rd(tmp_path, 5000, TRAIN, _curve(1.0)[:1])
    (one,) = gaps(read_rd(tmp_path), "one-rate")
    assert one.points is None


def test_sets_of_one_name_are_refused(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    shutil.copy(pictures / "0.png", tmp_path / "train")
    for sources in ((str(tmp_path / "train"),), (str(pictures), str(pictures))):
        trainer = build_trainer(dataclasses.replace(recipe, validation=sources, samples=4), tmp_path / "run")
        with pytest.raises(UsageError, match="another set is called"):
            trainer.train()


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
    assert read_recipe({"validation": "val"}, "test").validation == ("val",)
