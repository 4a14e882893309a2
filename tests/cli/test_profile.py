"""``promptcodec profile`` and the list of presets."""

import json
import sys

import pytest
from typer.testing import CliRunner

from promptcodec.cli.app import app
from promptcodec.errors import UsageError
from promptcodec.model.presets.registry import PRESETS


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_a_preset_and_its_sums():
    lines = [json.loads(line) for line in run("profile", "s2c-conv", "--size", "1920x1080", "--json").splitlines()]
    *parts, total, memory = lines
    assert memory == {"schema": 1, "verb": "profile", "record": "memory", "weights_mib": 254.0}
    assert total["network"] == "total"
    assert total["parameters"] == sum(part["parameters"] for part in parts) == 66_597_063
    for key in ("true", "needed", "paper002", "paper004"):
        assert total[key] == pytest.approx(sum(part[key] for part in parts), abs=0.01)
    assert {"mixer", "ffn", "aggregation", "resampling"} <= {part["kind"] for part in parts}
    assert "66,597,063" in run("profile", "s2c-conv")


def test_times(tic_file):
    for model in ("s2c-nano", "nano", tic_file):
        out = run("profile", model, "--size", "64x64", "--time")
        assert out.count(" ms") >= 8
        assert "memory: weights " in out


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is asked of Linux")
def test_memory_grows_with_the_picture():
    held = [
        json.loads(run("profile", "nano", "--size", size, "--time", "--json").splitlines()[-1])
        for size in ("64x64", "1024x1024")
    ]
    assert held[0]["weights_mib"] == held[1]["weights_mib"] == pytest.approx(3_699_656 * 4 / 2**20, abs=0.1)
    for side in ("encode_mib", "decode_mib"):
        assert held[1][side] > 16 > held[0][side] - 32


def test_papers():
    out = run("profile", "--papers")
    assert "68.42 / 68.42" in out
    assert "142.54 / 142.54" in out
    assert "32.70 / 32.70" in out
    assert out.count("(not built here)") == 7
    rows = [json.loads(line) for line in run("profile", "--papers", "--json").splitlines()]
    assert [row["preset"] for row in rows].count(None) == 7


def test_all_models():
    out = run("models", "--all")
    for name in PRESETS:
        assert f"\n{name} " in out
    rows = [json.loads(line) for line in run("models", "--all", "--json").splitlines()]
    presets = [row for row in rows if "preset" in row]
    assert {p["preset"] for p in presets} == set(PRESETS)
    assert next(p for p in presets if p["preset"] == "elic")["entropy_model"] == "SpaceChannel"


@pytest.mark.parametrize(
    "arguments", [["profile"], ["profile", "tic", "--papers"], ["profile", "tic", "--size", "12"],
                  ["profile", "tic", "--size", "0x5"]]
)  # fmt: skip
def test_what_makes_no_sense(arguments):
    with pytest.raises(UsageError):
        CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_table_of_presets_is_data_and_true(monkeypatch):
    """No network is built to print it; what is stored is what counting gives."""
    from benchmarks.results import preset_costs
    from promptcodec.cli.models import PRESET_COSTS

    counted = {name: preset_costs.costs_of(preset()) for name, preset in PRESETS.items()}
    assert json.loads(PRESET_COSTS.read_text()) == counted

    def refuse(*given, **options):
        raise AssertionError("a network was built")

    monkeypatch.setattr("torch.nn.Module.__init__", refuse)
    rows = [json.loads(line) for line in run("models", "--all", "--json").splitlines()]
    assert len(rows) >= len(PRESETS)
