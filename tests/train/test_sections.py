"""Recipe files in sections, flat ones, and changes from the command line."""

from pathlib import Path

import pytest

from promptcodec.errors import UsageError
from promptcodec.train.recipe import SECTIONS, Recipe
from promptcodec.train.recipe_file import load_recipe, merge_values, parse_changes, read_recipe

IN_SECTIONS = """
[model]
name = "tic"
start = "base.safetensors"
[data]
sources = ["a.tar"]
patch = 64
[schedule]
batch = 4
decay = 1
[loss]
objective = "look"
distortion = "ms-ssim"
fixed_lambda = 0.01
[adapter]
kind = "pyramid"
name = "look"
scalars = ["look"]
co_adapters = ["region.safetensors"]
neutral_start = false
[run]
train = "joint"
seed = 3
"""
FLAT = """
model = "tic"
start = "base.safetensors"
data = ["a.tar"]
patch = 64
batch = 4
decay = 1
objective = "look"
distortion = "ms-ssim"
fixed_lambda = 0.01
beside = ["region.safetensors"]
neutral_start = false
train = "joint"
seed = 3
[adapter]
kind = "pyramid"
name = "look"
scalars = ["look"]
"""


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / "sections.toml", tmp_path / "flat.toml"]
    for path, text in zip(found, (IN_SECTIONS, FLAT), strict=True):
        path.write_text(text)
    return found


def test_every_value_has_one_section() -> None:
    listed = [field for fields in SECTIONS.values() for field in fields]
    assert sorted(listed) == sorted(Recipe.__dataclass_fields__)


def test_sections_and_flat_keys_say_the_same(files: list[Path]) -> None:
    one, other = map(load_recipe, files)
    assert one == other
    assert (one.model, one.data, one.decay) == ("tic", ("a.tar",), 1.0)
    assert one.adapter == {"kind": "pyramid", "name": "look", "scalars": ["look"]}


def test_changes_name_a_key_alone_or_in_its_section(files: list[Path]) -> None:
    flat = parse_changes(["batch=8", "samples=16", 'model="base"', "fixed_lambda=0.0"])
    full = parse_changes(["schedule.batch=8", "schedule.samples=16", 'model.name="base"', "loss.fixed_lambda=0.0"])
    assert flat == full
    for path in files:
        changed = load_recipe(path, full)
        assert (changed.batch, changed.samples, changed.model, changed.seed) == (8, 16, "base", 3)
    assert parse_changes(["batch=8", "schedule.batch=9"]) == {"batch": 9}


def test_changes_of_an_adapter(files: list[Path]) -> None:
    """Another kind takes its place; options without a kind change it, and nothing in braces removes it."""
    for path in files:
        options = load_recipe(path, parse_changes(["adapter.encoder=false", "adapter.tokens=3"])).adapter
        assert options == {"kind": "pyramid", "name": "look", "scalars": ["look"], "encoder": False, "tokens": 3}
        other = load_recipe(path, parse_changes(['adapter={kind="beta", scalar="look"}'])).adapter
        assert other == {"kind": "beta", "scalar": "look"}
        assert load_recipe(path, parse_changes(["adapter={}"])).adapter == {}
        stacked = load_recipe(path, parse_changes(['adapter.co_adapters=["a", "b"]']))
        assert (stacked.co_adapters, stacked.adapter["kind"]) == (("a", "b"), "pyramid")
    assert merge_values({"batch": 1}, {"adapter": {"encoder": False}})["adapter"] == {"encoder": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[schedule]\npatch = 64", r"unknown key 'patch' in \[schedule\]; it belongs in \[data\]"),
        ("[schedule]\nbatches = 3", r"unknown key 'batches' in \[schedule\]; known are samples, batch"),
        ("[model]\nmodel = 'tic'", r"unknown key 'model' in \[model\]; it belongs in \[model\]|known are name"),
        ("[schedules]\nbatch = 3", "unknown key 'schedules'"),
        ("batch = 3\n[schedule]\nbatch = 4", "batch is given twice"),
        ("[schedule]\nbatch = 'all'", "batch is 'all', expected int"),
        ("model = 'huge'", "unknown model 'huge'"),
    ],
)
def test_sections_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)


@pytest.mark.parametrize("text", ["batch", "batch=", "batch=1\npatch=2", "a b=1"])
def test_changes_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="expected KEY=VALUE"):
        parse_changes([text])


def test_values_are_not_taken_from_other_sections() -> None:
    assert read_recipe({"adapter": {"masks": "ones", "kind": "lpm"}, "run": {"train": "joint"}}, "x").masks == "ones"
