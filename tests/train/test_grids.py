"""The ablations' grids: recipes that can run, variants that differ in what they say, and results that compare."""

import json
from pathlib import Path

import pytest

from benchmarks.experiments import ablation_grid as runner
from promptcodec.evaluate.cost.complexity import build, parts, total
from promptcodec.model.presets.registry import ABLATIONS, CONFIGURATIONS
from promptcodec.train.recipe_file import read_recipe

ROOT = Path(__file__).resolve().parents[2]
GRIDS = sorted((ROOT / "recipes/grids").glob("*.toml"))


@pytest.mark.parametrize("path", GRIDS, ids=lambda p: p.stem)
def test_every_run_is_a_recipe_of_a_small_model(path):
    grid = runner.Grid.load(path)
    settings = [grid.settings(label, seed) for label in grid.variants for seed in grid.seeds]
    assert len({json.dumps(s) for s in settings}) == len(grid.variants) * len(grid.seeds)
    for own in settings:
        recipe = read_recipe(own, grid.name)
        assert sum(p.numel() for p in build(CONFIGURATIONS[recipe.model]()).parameters()) <= 3_000_000


def test_variants_differ_in_cost_as_their_parts_do():
    def macs(name):
        return total(parts(build(ABLATIONS[name]()), 256, 256)).macs.needed

    for mixers in ("ccc", "aaa"):
        none, vanilla, additive, gated = (
            macs(f"s2c-narrow-{mixers}-{f}") for f in ("none", "vanilla", "additive", "gated")
        )
        assert none < vanilla < additive == gated
    assert macs("s2c-narrow-iii-gated") < macs("s2c-narrow-ccc-gated") < macs("s2c-narrow-aaa-gated")
    assert macs("swin-narrow") < macs("swin-narrow-ngram") == macs("swin-narrow-ngram-tag")


def test_a_grid_trains_goes_on_and_compares(tmp_path, pictures, capsys, monkeypatch):
    grid = tmp_path / "tiny.toml"
    grid.write_text(
        'title = "Tiny"\nreference = "a"\nseeds = [0]\n[recipe]\npatch = 64\nbatch = 2\nsamples = 4\n'
        '[[variant]]\nlabel = "a"\nmodel = "s2c-narrow-ccc-none"\n[[variant]]\nlabel = "b"\nmodel = "swin-narrow"\n'
    )
    results = tmp_path / "results.jsonl"
    monkeypatch.setattr(runner, "CROP", 64)
    monkeypatch.setattr("promptcodec.train.start.START_CROPS", 64)
    arguments = [str(grid), "--data", str(pictures), "--validation", str(pictures), "--runs", str(tmp_path / "runs")]
    arguments += ["--results", str(results)]
    monkeypatch.setattr("sys.argv", ["ablation_grid.py", *arguments, "--max-seconds", "0"])
    runner.main()
    assert not results.exists()  # no time, no result
    monkeypatch.setattr("sys.argv", ["ablation_grid.py", *arguments])
    runner.main()
    rows = runner.read(results)
    assert [row["samples"] for row in rows] == [4, 4]
    runner.main()  # all is there: nothing is trained twice
    assert runner.read(results) == rows
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["ablation_grid.py", *arguments, "--report", "--plots", str(tmp_path)])
    runner.main()
    assert "| a | " in capsys.readouterr().out
    assert (tmp_path / "tiny.png").stat().st_size > 5000
    better = rows[0] | {"rd": [{**p, "bpp": p["bpp"] / 2} for p in rows[0]["rd"]]}
    assert runner.change_in_rate(better, rows[0]) == pytest.approx(-50)


def test_seeds_are_compared_with_their_own_reference():
    variants = {name: {"model": name} for name in ("a", "b")}
    grid = runner.Grid("g", "G", "a", (0, 1, 2), {}, variants)

    def row(label, seed, factor):
        rd = [{"bpp": factor * 0.1 * 2**i, "psnr": 28.0 + 3 * i} for i in range(4)]
        return {"settings": grid.settings(label, seed), "rd": rd}

    rows = [row("a", 0, 1.0), row("b", 0, 0.5), row("a", 1, 1.0), row("b", 1, 2.0)]  # the third seed is not there yet
    assert runner.changes(grid, rows)["b"] == pytest.approx([-50, 100])
