"""What the package carries: it is downloaded and installed as a whole, weights included."""

from pathlib import Path

from typer.testing import CliRunner

import promptcodec
from promptcodec.cli.app import app

LARGEST = 30 * 2**20  # bytes


def test_the_package_stays_small():
    """All of its files; the wheel, which compresses them, is smaller still."""
    folder = Path(promptcodec.__file__).parent
    sizes = {
        path.relative_to(folder): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(f"store/weights/{name}.safetensors") for name in ("nano", "small")} <= sizes.keys()
    largest = sorted(sizes, key=lambda path: -sizes[path])[:5]
    assert sum(sizes.values()) < LARGEST, f"the largest: {', '.join(map(str, largest))}"


def test_tools_of_this_project_are_not_in_the_package():
    """The queue of runs, its ledger, slices of machine time, and the page of stored results."""
    folder = Path(promptcodec.__file__).parent
    tools = {"queue", "ledger", "slice", "report"}
    assert not tools & {path.stem for room in ("train", "cli") for path in (folder / room).rglob("*.py")}
    verbs = CliRunner().invoke(app, ["--help"]).output
    assert "train" in verbs
    assert "report" not in verbs.split()
    options = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    assert "--portable" in options
    assert not any(word in options for word in ("--next", "--queue", "ledger"))
