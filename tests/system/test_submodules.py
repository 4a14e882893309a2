"""Modules of the package are there after ``import promptcodec``, each imported when it is first asked for."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def mentioned():
    """Modules that the docs name by their path, and ``promptcodec.errors``."""
    found = {"promptcodec.errors", "promptcodec.pillow"}
    for page in PAGES:
        for name in re.findall(r"\bpromptcodec(?:\.[a-z_]+)+", page.read_text()):
            parts = name.split(".")
            while len(parts) > 1 and not _is_module(parts):
                parts.pop()
            found.add(".".join(parts))
    return sorted(found - {"promptcodec"})


def _is_module(parts):
    path = ROOT / "src" / Path(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_docs_name_modules():
    assert {"promptcodec.errors", "promptcodec.model.effort", "promptcodec.steer.sites"} <= set(mentioned())


@pytest.mark.parametrize("name", ["promptcodec.errors", "promptcodec.model.effort"])
def test_first_thing_in_a_process(name):
    assert python(f"import promptcodec; print({name}.__name__)") == f"{name}\n"


def test_all_that_the_docs_name():
    absent = () if find_spec("ray") else ("promptcodec.ray_data",)  # importing it says which extra it needs
    names = [name for name in mentioned() if name not in absent]
    code = "import promptcodec\n" + "\n".join(f"print({name}.__name__)" for name in names)
    assert python(code).splitlines() == names


def test_what_is_no_module_is_no_attribute():
    code = """
import promptcodec
for package in (promptcodec, promptcodec.codec, promptcodec.model):
    for name in ("nothing", "_nothing", "__wrapped__"):
        assert not hasattr(package, name)
try:
    promptcodec.codec.nothing
except AttributeError as error:
    print(error)
"""
    assert python(code) == "module 'promptcodec.codec' has no attribute 'nothing'\n"


def test_importing_the_package_imports_little():
    """Milliseconds: no library, and of its own modules what has to see a fork."""
    code = (
        "import sys, promptcodec; print([n for n in sys.modules if n.startswith(('promptcodec.', 'torch', 'numpy'))])"
    )
    names = ast.literal_eval(python(code))
    assert {n.rpartition(".")[2] for n in names} <= {"errors", "forks", "submodules", "system"}
