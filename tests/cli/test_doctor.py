"""``promptcodec doctor``."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from promptcodec.cli.doctor import advice
from promptcodec.evaluate.cost.machine import MachineSpeed
from promptcodec.system import extras
from promptcodec.system.extras import EXTRAS

FOR_DEVELOPERS = {"test", "browser", "dev", "fuzz", "docs"}
COMPLETE = {extra.name: [] for extra in EXTRAS}


def speed(**values):
    usual = {
        "cores": 1, "threads": 1, "peak_gflops": 100.0, "bfloat16_speedup": 0.5, "compiled_attention": True,
        "coder": "constriction", "coder_encode_msym_per_s": 20.0, "coder_decode_msym_per_s": 20.0, "width": 8,
        "height": 8, "encode_s": 0.1, "decode_s": 0.1,
    }  # fmt: skip
    return MachineSpeed(**usual | values)


def test_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {
        name: {re.split("[<>=;[]", requirement)[0].strip() for requirement in requirements}
        for name, requirements in project["optional-dependencies"].items()
        if name not in FOR_DEVELOPERS
    }
    assert {extra.name: set(extra.modules) for extra in EXTRAS} == declared


@pytest.mark.parametrize(
    ("changes", "lacks", "devices", "cuda_build", "wanted"),
    [
        ({}, {}, {}, False, []),
        ({}, {"fast": ["llvmlite"], "eval": ["scipy"]}, {}, False, ["promptcodec[fast]", "promptcodec[eval]"]),
        ({"compiled_attention": False}, {"fast": ["llvmlite"]}, {}, False, ["promptcodec[fast]"]),
        ({"compiled_attention": False}, {}, {}, False, ["cannot compile"]),
        ({"coder": "python"}, {}, {}, False, ["pip install constriction"]),
        ({"bfloat16_speedup": 2.5}, {}, {}, False, ["--precision auto: bfloat16 is 2.5 times"]),
        ({"cores": 8}, {}, {}, False, ["-j 8"]),
        ({}, {}, {"cuda:0": "a GPU"}, True, ["--device cuda:0: the networks on a GPU"]),
        ({}, {}, {}, True, ["download.pytorch.org/whl/cpu"]),
    ],
)
def test_advice(changes, lacks, devices, cuda_build, wanted):
    hints = advice(COMPLETE | lacks, speed(**changes), devices, cuda_build)
    assert len(hints) == len(wanted)
    assert all(text in hint for text, hint in zip(wanted, hints, strict=True))


def test_doctor(run, monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module in ("llvmlite", "fsspec") else object())
    code, out, err = run("doctor", "--json")
    assert (code, err) == (0, "")
    (record,) = map(json.loads, out.splitlines())
    assert (record["schema"], record["verb"], record["record"]) == (1, "doctor", "machine")
    assert {"promptcodec", "python", "torch", "numpy", "pillow"} <= {k for k, v in record["versions"].items() if v}
    assert [extra["name"] for extra in record["extras"] if not extra["installed"]] == ["fast", "stream", "batch"]
    assert any("pip install 'promptcodec[fast]'" in hint for hint in record["advice"])
    measured = record["speed"]
    assert all(value > 0 for key, value in measured.items() if isinstance(value, float))
    assert measured["encode_s"] < 60
    code, out, _ = run("doctor", "--threads", 1)
    assert code == 0
    assert "fast          without llvmlite" in out
    assert "Speed, 1 threads" in out
    assert "What would help" in out
