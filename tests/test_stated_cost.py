"""What the README, the numbers and the model cards say that a picture costs is what ``promptcodec profile`` counts."""

import json
import re
from pathlib import Path

import pytest

from promptcodec.cli import profile
from promptcodec.store.shipped import shipped_models

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "src" / "promptcodec" / "store" / "weights"


def counted(model, capsys):
    profile.command(model, as_json=True)
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    return next(f"{row['needed']:.1f}" for row in rows if row["network"] == "total")


@pytest.mark.parametrize("model", [*shipped_models(), "tic"])
def test_pages_agree_with_profile(model, capsys):
    for page in (ROOT / "README.md", ROOT / "docs" / "numbers.md"):
        line = next(line for line in page.read_text().splitlines() if line.startswith(f"**{model}** ("))
        assert re.findall(r"([\d.]+) kMAC/pixel", line) == [counted(model, capsys)], page


@pytest.mark.parametrize("model", shipped_models())
def test_cards_agree_with_profile(model, capsys):
    assert re.findall(r"([\d.]+) kMAC", (CARDS / f"{model}.md").read_text()) == [counted(model, capsys)]
