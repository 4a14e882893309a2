"""What the plan of the packages promises, beside who imports whom (``test_imports``)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import promptcodec
from promptcodec import errors

SOURCE = Path(promptcodec.__file__).parent
SAY_NOTHING = {"found", "own", "given", "made", "asked", "held", "beside", "sitting", "wanted", "told", "said"}
"""Names that say how a thing came about or where it stands, and not what it is."""
PHOTO = Path(__file__).parents[1] / "examples" / "photo.jpg"


def modules():
    return [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]


def test_modules_are_neither_long_nor_catch_alls():
    benchmarks = SOURCE.parents[1] / "benchmarks"
    assert not [path for path in (*modules(), *benchmarks.rglob("*.py")) if _lines(path) > 350]
    assert not [path for path in modules() if path.stem in ("utils", "helpers", "misc", "common")]


def _lines(path):
    return len(path.read_text("utf-8").splitlines())


def _bound_names(tree):
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name.strip("_")
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.alias(asname=str(name)):
                yield name.strip("_")


def test_names_say_what_things_are():
    bound = {path: set(_bound_names(ast.parse(path.read_text("utf-8")))) for path in modules()}
    assert not {path.name: names & SAY_NOTHING for path, names in bound.items() if names & SAY_NOTHING}
    assert set(_bound_names(ast.parse("def made(asked):\n    for own in asked: _found = own"))) == {
        "made", "asked", "own", "found",
    }  # fmt: skip


def test_docstrings_of_functions_that_return_begin_with_a_verb():
    """Of the modules of ``serve`` with routes they are the interface's description, and may begin as they like."""
    openers = re.compile(r"(The|A|An|What|Whether|Where|How|All|Nothing|Everything|Those|Its?)\b")
    paths = [path for path in modules() if path.name not in ("public.py", "page_routes.py")]
    nouns = {path.name: names for path in paths if (names := _noun_phrases(path, openers))}
    assert not nouns


def _noun_phrases(path, openers):
    functions = (n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.FunctionDef))
    return [
        function.name
        for function in functions
        if openers.match(ast.get_docstring(function) or "")
        and function.returns is not None
        and not ast.unparse(function.returns).startswith(("None", "NoReturn", "Iterator", "Generator", "AsyncIterator"))
        and not any("property" in ast.unparse(decorator) for decorator in function.decorator_list)
    ]


def test_errors_are_one_public_tree():
    public = {name for name in vars(errors) if name.endswith("Error")}
    assert public >= {"FormatError", "ImageError", "LimitError", "ModelMismatchError", "TargetError", "UsageError"}
    assert all(issubclass(getattr(errors, name), errors.PromptcodecError) for name in public)
    defined = {name for path in modules() for name in _error_classes(path)}
    assert defined <= public | {
        "LatentChecksumError",
        "UnstableParametersError",
        "TiffError",
        "DiskFullError",
        "StoppedError",
        "ServiceError",  # the three of a service become answers over HTTP
        "CancelledError",
        "SourceNeededError",
    }


def _error_classes(path):
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("class ") and "Error" in line.partition("(")[0]:
            yield line[6:].partition("(")[0].rstrip(":")


def test_what_the_package_exports():
    assert promptcodec.__all__ == ["Codec", "Info", "Target", "decode", "encode", "info", "load", "preview"]
    assert all(hasattr(promptcodec, name) for name in promptcodec.__all__)


WITHOUT_ADAPTERS = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("promptcodec.steer"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import promptcodec

data = promptcodec.encode(sys.argv[1], 30)
assert promptcodec.decode(data).size == promptcodec.decode(data).size
try:
    promptcodec.encode(sys.argv[1], roi="0,0,64,64")
except promptcodec.errors.UsageError as error:
    print(error)
"""


def test_the_base_codec_stands_without_steering():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_ADAPTERS, str(PHOTO)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "no adapters" in run.stdout


@pytest.mark.parametrize("package", ["bitstream", "picture", "codec", "system"])
def test_what_needs_no_torch_loads_none(package):
    names = [
        ".".join(("promptcodec", *path.relative_to(SOURCE).with_suffix("").parts))
        for path in (SOURCE / package).rglob("*.py")
        if path.name != "__init__.py"
    ]
    code = (
        f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\nassert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
