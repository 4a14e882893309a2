"""What ``benchmarks/trust/exactness.py`` does for all models, for one and briefly; docs/exactness.md."""

import json
from pathlib import Path

import pytest

from benchmarks.trust import exactness

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def units():
    return json.loads((BENCHMARKS / "results" / "exactness.json").read_text())["deviations"]["tic"]["units"]


def test_a_thousand_times_the_deviation_changes_no_integer(units):
    row = exactness.perturb("tic", units, 20)
    assert (row["latents"], row["mismatches"], row["intermediates"]) == (20, 0, len(units))
    assert row["bins_used"] > 40
    assert 0 < row["margin_used"] < 1


def test_noise_beyond_the_margin_does(units):
    assert exactness.perturb("tic", [10**8] * len(units), 20)["mismatches"] > 0


def test_this_platform_settles_the_same_integers_as_the_reference():
    expected = json.loads(exactness.REFERENCE.read_text())["tic"]
    found = exactness.digest(exactness.hyper_networks("tic"), [bytes.fromhex(o) for o in expected["offsets"]])
    assert found["sha256"] == expected["sha256"]
