"""The page on steering: its example runs, and is as short as it says."""

import re
from pathlib import Path

from promptcodec.steer.adapter import Adapter
from promptcodec.steer.kinds import BUILT_IN

PAGE = Path(__file__).resolve().parents[2] / "docs" / "steering" / "contract.md"


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert len(code.splitlines()) <= 100
    monkeypatch.chdir(tmp_path)
    try:
        exec(compile(code, str(PAGE), "exec"), {"__name__": "example"})
    finally:
        Adapter.kinds.pop("mood", None)
    assert "needs adapter mood" in capsys.readouterr().out


def test_every_kind_is_on_the_page():
    text = (PAGE.parent / "methods.md").read_text()
    assert all(f"`{kind}`" in text for kind in BUILT_IN)
