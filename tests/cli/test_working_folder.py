"""Modules that lie beside the pictures are never imported: not by the command, nor by its worker processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import make_photo
from PIL import Image

import promptcodec

SOURCE = Path(promptcodec.__file__).parents[1]
TRAPS = ("pickle", "torch", "numpy", "PIL", "promptcodec", "typer", "tempfile", "socket", "sitecustomize_of_nobody")


@pytest.fixture
def trapped(tmp_path):
    """A folder with two pictures and modules that leave a mark when they are imported."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(make_photo(64, 64)).save(folder / f"{name}.png")
    for name in TRAPS:
        text = f"open({str(tmp_path / 'caught')!r}, 'a').write({name!r} + ' ')\nraise ImportError('a trap')\n"
        if name in ("promptcodec", "torch"):
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(text)
        else:
            (folder / f"{name}.py").write_text(text)
    return folder


def run(folder, start, *arguments, path=str(SOURCE), **variables):
    environment = os.environ | {"PYTHONPATH": path, **variables}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [*start, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


# As the installed command does: a script that lies elsewhere.
SCRIPT = "import sys\nfrom promptcodec.__main__ import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.mark.parametrize("path", [str(SOURCE), f"{SOURCE}{os.pathsep}"], ids=["", "a colon too many"])
def test_workers_import_nothing_from_the_working_folder(trapped, tmp_path, path):
    script = tmp_path / "bin" / "promptcodec"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    out = run(trapped, [sys.executable, script], "encode", "a.png", "b.png", "-j", "2", path=path)
    assert not (tmp_path / "caught").exists(), (tmp_path / "caught").read_text()
    assert (out.returncode, out.stdout.splitlines()[-1]) == (0, "2 files: 2 done"), out.stderr


def test_python_m_imports_nothing_further_from_the_working_folder(trapped, tmp_path):
    """What ``python -m`` itself looks for comes before us: the package is found elsewhere only where none is here."""
    (trapped / "promptcodec" / "__init__.py").unlink()
    (trapped / "promptcodec").rmdir()
    out = run(trapped, [sys.executable, "-m", "promptcodec"], "encode", "a.png", "b.png", "-j", "2")
    assert not (tmp_path / "caught").exists(), (tmp_path / "caught").read_text()
    assert (out.returncode, out.stdout.splitlines()[-1]) == (0, "2 files: 2 done"), out.stderr


def test_workers_run_where_the_package_is_in_the_working_folder(tmp_path):
    """As in a checkout."""
    for name in ("a", "b"):
        Image.fromarray(make_photo(64, 64)).save(tmp_path / f"{name}.png")
    out = run(SOURCE, [sys.executable, "-m", "promptcodec"], "encode", tmp_path, "-j", "2", path="")
    assert (out.returncode, out.stdout.splitlines()[-1]) == (0, "2 files: 2 done"), out.stderr


def test_python_that_ignores_variables_is_told_what_it_needs(trapped):
    start = [
        sys.executable,
        "-E",
        "-c",
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {SCRIPT.splitlines()[1]}; main()",
    ]
    out = run(trapped, start, "encode", "a.png", "b.png", "-j", "2")
    assert out.returncode == 2
    assert "-P" in out.stderr
    assert "Traceback" not in out.stderr
