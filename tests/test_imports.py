"""Who may import whom: floors from bottom to top, no circles, whether at the head of a file, within a function or for
types only."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
FLOORS = (
    "errors", "system", "bitstream", "picture", "quality", "tasks", "model", "store", "codec", "steer", "importers",
    "api", "array_reader", "torch_data", "ray_data", "evaluate", "train", "pillow", "serve", "batch", "cli", "__main__",
)  # fmt: skip
"""Folders and modules right below ``promptcodec``, the lowest first; each imports from those before it only."""

EXCEPTIONS: set[tuple[str, str]] = set()
"""Imports, as (importing module, imported module), that are still to be removed."""


def module_files():
    """Path of every module by its name; a package's is that of its ``__init__``, called NAME.__init__."""
    return {
        ".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("promptcodec/**/*.py")
    }


def read_imports(files):
    """Pairs (importing module, imported module) of our own modules; ``promptcodec.__version__`` is no import."""
    pairs = set()
    for name, path in files.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} imports relatively"
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for target in wanted:
                if target.split(".")[0] != "promptcodec" or target == "promptcodec.__version__":
                    continue
                parent = target.rpartition(".")[0]
                places = (target, f"{target}.__init__", parent, f"{parent}.__init__")
                owner = next((place for place in places if place in files), None)
                assert owner, f"{name} imports {target}, which is nowhere"
                pairs.add((name, owner))
    return {(name, owner) for name, owner in pairs if name != owner}


@pytest.fixture(scope="module")
def imports():
    return read_imports(module_files())


@pytest.fixture(scope="module")
def allowed(imports):
    return imports - EXCEPTIONS


def floor(module):
    return module.split(".")[1]


def find_circle(pairs):
    """A list of nodes each of which imports the next, the last one the first; None where there is none."""
    below = defaultdict(set)
    for name, target in pairs:
        below[name].add(target)
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return None
        path.append(node)
        for target in sorted(below[node]):
            if circle := visit(target):
                return circle
        done.add(path.pop())
        return None

    return next((circle for node in sorted(below) if (circle := visit(node))), None)


def siblings(pairs):
    """Imports between the children (modules or folders) of each folder: a pair of children by the folder's name."""
    within = defaultdict(set)
    for name, target in pairs:
        one, other = name.split("."), target.split(".")
        depth = next(i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
        within[".".join(one[:depth])].add((one[depth], other[depth]))
    return within


def test_every_folder_has_its_floor():
    assert {floor(module) for module in module_files()} == {*FLOORS, "__init__"}


def test_imports_run_downwards(allowed):
    ranks = {name: rank for rank, name in enumerate((*FLOORS[:-1], "__init__", FLOORS[-1]))}
    ranks["__init__"] = ranks["cli"]  # the public names of ``promptcodec``, which the command line may ask for
    assert not [f"{a} -> {b}" for a, b in sorted(allowed) if ranks[floor(b)] > ranks[floor(a)]]


def test_no_file_imports_itself_round_a_circle(allowed):
    assert find_circle(allowed) is None


def test_no_two_children_of_a_folder_import_each_other(allowed):
    circles = {folder: find_circle(pairs) for folder, pairs in siblings(allowed).items()}
    assert not {folder: circle for folder, circle in circles.items() if circle}


def test_every_exception_is_still_one(imports):
    assert imports >= EXCEPTIONS


def test_what_a_circle_is(tmp_path):
    assert find_circle({("a", "b"), ("b", "c"), ("a", "c")}) is None
    assert find_circle({("a", "b"), ("b", "c"), ("c", "b")}) == ["b", "c"]
    files = {}
    for name, text in {
        "promptcodec.a.one": "def f():\n    from promptcodec.b import two\n",
        "promptcodec.b.two": "if TYPE_CHECKING:\n    from promptcodec.a.other import x\n",
        "promptcodec.a.other": "import promptcodec.errors\n",
        "promptcodec.errors": "",
    }.items():
        files[name] = tmp_path / f"{name}.py"
        files[name].write_text(text)
    pairs = read_imports(files)
    assert pairs == {
        ("promptcodec.a.one", "promptcodec.b.two"), ("promptcodec.b.two", "promptcodec.a.other"),
        ("promptcodec.a.other", "promptcodec.errors"),
    }  # fmt: skip
    assert find_circle(pairs) is None  # no circle of files
    assert set(find_circle(siblings(pairs)["promptcodec"])) == {"a", "b"}  # but one of folders
