"""The programs and the notebook in ``examples/`` run as they stand, on a small picture."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's photo in small, alone in a folder."""
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    with Image.open(EXAMPLES / "photo.jpg") as image:
        image.convert("RGB").resize((192, 128)).save(path)
    return path


def run(program: str, *arguments: Path) -> str:
    """Run a program from the repository root and return what it prints."""
    command = [sys.executable, f"examples/{program}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_folder_psnr(picture: Path) -> None:
    lines = run("folder_psnr.py", picture.parent).splitlines()
    assert [line.split()[0] for line in lines] == ["photo.png", "mean"]
    assert all(20 < float(line.split()[-2]) < 60 for line in lines)


def test_regions_have_smaller_errors_at_no_more_bytes(picture: Path, tmp_path: Path) -> None:
    rows = re.findall(r"roi (\w+) +(\d+) bytes, squared error +([\d.]+) inside", run("region.py", picture, tmp_path))
    inside = {name: float(error) for name, _, error in rows}
    assert inside["rectangle"] < inside["none"] and inside["mask"] < inside["none"]
    assert {path.name for path in tmp_path.iterdir()} == {"none.ptc", "rectangle.ptc", "mask.ptc"}


def test_looks_differ(picture: Path, tmp_path: Path) -> None:
    run("looks.py", picture, tmp_path / "looks.png")
    with Image.open(tmp_path / "looks.png") as sheet:
        assert sheet.size == (4 * 192, 128 + 16)
        panels = {sheet.crop((left, 16, left + 192, 144)).tobytes() for left in range(0, 4 * 192, 192)}
    assert len(panels) == 4


def test_previews_and_crops(picture: Path, tmp_path: Path) -> None:
    output = run("previews_and_crops.py", picture, tmp_path)
    assert "crop: 96x64 at 48, 32" in output
    with Image.open(tmp_path / "crop.png") as part:
        assert part.size == (96, 64)


def test_pillow_plugin(picture: Path, tmp_path: Path) -> None:
    assert "PTC, RGB, 192x128\nthumbnail: 128x85" in run("pillow_plugin.py", picture, tmp_path / "photo.ptc")


def test_steering_method(picture: Path, tmp_path: Path) -> None:
    output = run("steering_method.py", picture, tmp_path / "warmth.safetensors")
    cool, warm = (float(change) for change in re.findall(r"needs \('warmth',\), mean change ([\d.]+)", output))
    assert cool == 0 < warm


def test_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], "a notebook is committed without its outputs"
            exec(compile(ast.parse("".join(cell["source"])), "tour.ipynb", "exec"), names)
    assert names["crisp"].tobytes() != names["decoded"].tobytes()
    assert "region" in names["promptcodec"].info(names["steered"]).adapters


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_programs_are_short_and_tested(program: Path) -> None:
    assert len(program.read_text(encoding="utf-8").splitlines()) < 50
    tests = (path.read_text(encoding="utf-8") for path in Path(__file__).parent.rglob("test_*.py"))
    assert any(f'run("{program.name}"' in text or f"{program.name}:" in text for text in tests)
