"""The mean of adapters."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.steer.adapter_file import load_adapter, save_adapter
from promptcodec.steer.methods.gain_units import GainUnits

SCRIPT = Path(__file__).resolve().parents[2] / "training" / "average.py"


def test_the_mean_of_two(codec, tmp_path, monkeypatch):
    base, paths = codec.backend.network.config, []
    for value in (1.0, 3.0):
        adapter = GainUnits(base, "mean")
        torch.nn.init.constant_(adapter.y, value)
        paths.append(str(tmp_path / f"{value}.safetensors"))
        save_adapter(adapter, codec.backend.network, paths[-1])
    out = tmp_path / "new" / "mean.safetensors"
    monkeypatch.setattr(sys, "argv", ["average.py", paths[0], "3", paths[1], "1", "-o", str(out)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = load_adapter(out, codec.backend.network).adapter
    assert found.name == "mean"
    assert found.y.eq(1.5).all()
    assert found.z.eq(1.0).all()
    with pytest.raises(UsageError, match="no mean"):
        runpy.run_path(str(SCRIPT))["averaged"]([(GainUnits(base), 1.0), (GainUnits(base, levels=3), 1.0)])
