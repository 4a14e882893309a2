"""The learning-rate range test finds a rate that is too high."""

import dataclasses
import itertools
import runpy
import sys
from pathlib import Path

import pytest

from promptcodec.train.recipe import Recipe
from promptcodec.train.run.divergence import Verdict

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "rate_range.py"


def test_it_finds_the_rate_at_which_a_model_diverges(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(runpy.run_path(str(SCRIPT))["rate_range"](dataclasses.replace(recipe, samples=800), 1e-3, 100.0))
    assert [row.verdict for row in rows[:3]] == [Verdict.WELL] * 3
    assert rows[-1].verdict is Verdict.DIVERGED  # and it ends there
    assert all(row.verdict is not Verdict.DIVERGED for row in rows[:-1])
    lowest = min(rows, key=lambda row: row.loss)
    assert 1e-3 < lowest.rate < rows[-1].rate < 100.0
    factors = [two.rate / one.rate for one, two in itertools.pairwise(rows)]
    assert factors == pytest.approx([1e5 ** (16 / 199)] * len(factors))
    (tmp_path / "recipe.toml").write_text('model = "tiny"\npatch = 64\nbatch = 4\nthreads = 1\nprecision = "float32"\n')
    arguments = [str(tmp_path / "recipe.toml"), "--data", recipe.data[0], "--from", "1e-3", "--to", "1e-2"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments, "--samples", "128", "--with", "min_scale=1.0"])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    told = capsys.readouterr().out
    assert "the loss is lowest at " in told
    assert "diverged: at no rate" in told
