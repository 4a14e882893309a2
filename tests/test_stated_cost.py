"""What the README, the numbers and the model card say that a picture costs is what ``promptcodec profile`` counts."""

import json
import re
from pathlib import Path

import pytest

from promptcodec.cli import profile

ROOT = Path(__file__).resolve().parents[1]
CARD = ROOT / "src" / "promptcodec" / "store" / "weights" / "nano.md"


@pytest.mark.parametrize("model", ["nano", "tic"])
def test_pages_agree_with_profile(model, capsys):
    profile.command(model, as_json=True)
    rows = map(json.loads, capsys.readouterr().out.splitlines())
    counted = next(f"{row['needed']:.1f}" for row in rows if row["network"] == "total")
    for page in (ROOT / "README.md", ROOT / "docs" / "numbers.md"):
        line = next(line for line in page.read_text().splitlines() if line.startswith(f"**{model}** ("))
        assert re.findall(r"([\d.]+) kMAC/pixel", line) == [counted], page
    if model == "nano":
        assert re.findall(r"([\d.]+) kMAC", CARD.read_text()) == [counted]
