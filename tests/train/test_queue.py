"""The queue, its ledger, and a whole slice rehearsed on the CPU."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import ledger
import numpy as np
import pytest
from PIL import Image
from queue_file import DIVERGED, DONE, mark, read_queue, ready_run
from run_queue import run_queue

from promptcodec.errors import UsageError
from promptcodec.evaluate.data.rd_log import read_rd
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.store.shipped import shipped_models
from promptcodec.train.recipe_file import load_recipe
from promptcodec.train.run.shards import read_shards, write_shards

ROOT = Path(__file__).resolve().parents[2]

QUEUE = """# what is to be done
[[run]]
name = "one"
recipe = "toy.toml"
status = "open"  # the first

[[run]]
name = "two"
recipe = "toy.toml"
status = "open"
start = "one"
set = { samples = 16 }
"""
THREE = """
[[run]]
name = "three"
recipe = "toy.toml"
status = "open"
"""
TOY = """
model = "nano"
patch = 64
batch = 2
samples = 8
log_every = 1
threads = 1
precision = "float32"
checkpoint_minutes = 0.001
watch = 0.01
linear_start = false
"""


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    (tmp_path / "toy.toml").write_text(TOY)
    path = tmp_path / "queue.toml"
    path.write_text(QUEUE)
    return path


def test_the_repository_has_a_queue() -> None:
    runs = read_queue(ROOT / "training" / "queue.toml")
    assert [run.name for run in runs[:2]] == ["small", "base-stage1"]
    for run in runs:
        assert run.recipe.is_file()


def test_the_queue_has_every_run_of_the_figures() -> None:
    """Of papers 000 and 001: each λ of each curve and cell, on the base that it is for, with crops and rounding as
    published."""
    runs = {run.name: run for run in read_queue(ROOT / "training" / "queue.toml")}
    lambdas = ("0.0018", "0.0035", "0.0067", "0.013", "0.025", "0.0483")

    def is_trained(name: str, base: str, rate: str) -> None:
        run = runs[name]
        recipe = load_recipe(run.recipe, dict(run.changes) | {"start": "x"})
        assert (run.start, recipe.fixed_lambda, recipe.patch) == (base, float(rate), 256), name
        assert (recipe.crops, recipe.quantisation) == ("plain", "noise"), name

    for rate in lambdas:
        is_trained(f"tic-{rate}", "base-stage1", rate)
    for before in lambdas:  # 001, Table 1: six λ0 to five rates each
        for rate in set(lambdas) - {before}:
            name = f"lpm-{rate}" if before == "0.0067" else f"lpm-from-{before}-{rate}"
            is_trained(name, f"tic-{before}", rate)
    for share in ("0.5", "0.1", "0.01"):  # Fig. 8
        for rate in lambdas:
            assert dict(runs[f"tic-{rate}-share-{share}"].changes)["share"] == float(share)
            is_trained(f"tic-{rate}-share-{share}", "base-stage1", rate)
            if rate != "0.0067":
                is_trained(f"lpm-{rate}-share-{share}", "tic-0.0067", rate)
    for rate in lambdas[:4]:  # 000: the four R_λ
        for metric in ("ms-ssim", "lpips"):
            is_trained(f"single-{metric}-{rate}", f"tic-{rate}", rate)
            for method in ("prompts", "prompts-decoder", "sft", "sft-decoder", "sft-sites", "beta", "beta-decoder"):
                is_trained(f"joint-{method}-{metric}-{rate}", f"tic-{rate}", rate)
    for name in ("kao", "kao-ngram-hyper", "kao-ngram", "kao-ngram-masked"):  # 003
        assert dict(runs[f"{name}-stage2"].changes)["sample_weights"] == "equal"
        assert runs[f"{name}-stage3"].start_adapter == f"{name}-stage2"


def test_every_run_of_the_queue_loads(tmp_path: Path) -> None:
    """With a model file of each run before it, and its networks, where they are looked for."""
    queue = ROOT / "training" / "queue.toml"
    networks = {key: str(tmp_path / key) for key in ("features", "feature_heads")}
    for key in networks:
        (tmp_path / key).touch()
    for run in read_queue(queue):
        if run.start:
            (tmp_path / run.start).mkdir(exist_ok=True)
            (tmp_path / run.start / "model.safetensors").touch()
        if run.start_adapter:
            (tmp_path / run.start_adapter).mkdir(exist_ok=True)
            (tmp_path / run.start_adapter / "adapter.safetensors").touch()
        given = load_recipe(run.recipe, dict(run.changes) | ({"start": "x"} if run.start else {}))
        recipe = run.load(tmp_path, {key: path for key, path in networks.items() if getattr(given, key)})
        assert recipe.model in CONFIGURATIONS
        before = str(tmp_path / run.start / "model.safetensors")
        assert recipe.start in ((before,) if run.start else ("", *shipped_models()))
        assert bool(recipe.start_adapter) == bool(run.start_adapter)


def test_a_run_that_lacks_something_waits(queue: Path, tmp_path: Path) -> None:
    lacks = 'set = { features = "networks/none.safetensors", feature_weight = 1.0 }\n'
    queue.write_text(QUEUE.replace('status = "open"  # the first\n', f'status = "open"\n{lacks}') + THREE)
    run, waiting = ready_run(queue, tmp_path, {})
    assert run.name == "three"
    assert waiting == [
        "run one needs networks/none.safetensors, which is not there: put it in that place, as seen from the working "
        "directory",
        "run two starts from one, which is not done",
    ]
    mark(queue, "three", DONE)
    with pytest.raises(UsageError, match=r"no open run of .* can be done: run one needs"):
        ready_run(queue, tmp_path, {})


def test_a_run_goes_on_from_an_adapter(queue: Path, tmp_path: Path) -> None:
    adapter = '[adapter]\nkind = "pyramid"\nname = "kao"\nscalars = ["rate"]\n'
    (tmp_path / "joint.toml").write_text(f'train = "joint"\nstart = "none"\n{adapter}')
    kao = THREE.replace("toy", "joint").replace("three", "kao") + 'start = "one"\nstart_adapter = "two"\n'
    lacks = QUEUE.replace("samples = 16", 'features = "networks/none", feature_weight = 1.0')
    queue.write_text(lacks + kao + THREE)
    mark(queue, "one", DONE)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
    with pytest.raises(UsageError, match=r"kao starts from two, but there is no .*adapter\.safetensors"):
        read_queue(queue)[2].load(tmp_path, {})
    path = tmp_path / "two" / "adapter.safetensors"
    path.touch()
    recipe = read_queue(queue)[2].load(tmp_path, {})
    assert (recipe.start, recipe.start_adapter) == (str(tmp_path / "one" / "model.safetensors"), str(path))
    run, waiting = ready_run(queue, tmp_path, {})
    assert (run.name, waiting[1:]) == ("three", ["run kao starts from two, which is not done"])
    mark(queue, "two", DONE)
    assert ready_run(queue, tmp_path, {})[0].name == "kao"


def test_the_queue_goes_on_past_a_run_that_has_to_wait(queue: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "data.tar").write_bytes(_tar(tmp_path, "a", 0))
    lacks = 'set = { features = "networks/none.safetensors", feature_weight = 1.0 }\n'
    queue.write_text(QUEUE.replace('status = "open"  # the first\n', f'status = "open"\n{lacks}') + THREE)
    with pytest.raises(UsageError, match="no open run"):  # what is left cannot be done
        run_queue(queue, tmp_path, {"data": [str(tmp_path / "data.tar")]})
    assert capsys.readouterr().out.count("left for later: run one needs networks/none.safetensors") == 1
    assert [run.status for run in read_queue(queue)] == ["open", "open", "done"]
    assert (tmp_path / "three" / "model.safetensors").is_file()


def test_the_queue_goes_on_past_a_run_that_diverges(queue: Path, tmp_path: Path, capsys) -> None:
    """It is marked, so that it is not begun again, and runs that start from it wait."""
    (tmp_path / "data.tar").write_bytes(_tar(tmp_path, "a", 0))
    diverges = "set = { learning_rate = 30.0, warmup = 0, samples = 400, guard_steps = 16, guard_retries = 0 }\n"
    queue.write_text(
        QUEUE.replace('status = "open"  # the first\n', f'status = "open"  # the first\n{diverges}') + THREE
    )
    overrides = {"data": [str(tmp_path / "data.tar")]}
    with pytest.raises(UsageError, match="run two starts from one, which diverged"):
        run_queue(queue, tmp_path, overrides)
    assert [run.status for run in read_queue(queue)] == [DIVERGED, "open", DONE]
    assert 'status = "diverged"  # the first' in queue.read_text()
    assert "one: diverged at" in capsys.readouterr().out
    assert not (tmp_path / "one" / "model.safetensors").exists()
    rows = [line.split(" | ") for line in (tmp_path / "LEDGER.md").read_text().splitlines() if line.startswith("| 2")]
    assert [(row[1], row[7] == "diverged") for row in rows] == [("one", True), ("three", False)]


def test_the_queue_goes_on_past_a_run_that_cannot_be_begun(queue: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "data.tar").write_bytes(_tar(tmp_path, "a", 0))
    other = 'set = { start = "nano", model = "tic", fixed_lambda = 0.01 }\n'
    queue.write_text(QUEUE.replace('status = "open"  # the first\n', f'status = "open"\n{other}') + THREE)
    run_queue(queue, tmp_path, {"data": [str(tmp_path / "data.tar")]})
    assert [run.status for run in read_queue(queue)] == ["open", "open", DONE]
    told = capsys.readouterr().out
    assert told.count("left for later: run one cannot be begun: nano cannot start this run") == 1
    assert "the queue is done, but for what is left for later" in told
    queue.write_text(QUEUE.replace('status = "open"  # the first\n', f'status = "open"\n{other}'))
    with pytest.raises(UsageError, match=r"no open run of .* can be done: run one cannot be begun"):
        run_queue(queue, tmp_path, {"data": [str(tmp_path / "data.tar")]})


def test_the_first_open_run_is_next(queue: Path, tmp_path: Path) -> None:
    first = ready_run(queue, tmp_path, {})[0]
    assert first.name == "one"
    mark(queue, "one", DONE)
    assert queue.read_text() == QUEUE.replace('status = "open"  # the first', 'status = "done"  # the first')
    second = read_queue(queue)[1]
    with pytest.raises(UsageError, match="run two starts from one, but there is no"):
        second.load(tmp_path, {})
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.safetensors").touch()
    recipe = second.load(tmp_path, {"data": ["x"]})
    assert (recipe.samples, recipe.start) == (16, str(tmp_path / "one" / "model.safetensors"))
    assert ready_run(queue, tmp_path, {"data": ["x"]})[0].name == "two"
    mark(queue, "two", DONE)
    assert ready_run(queue, tmp_path, {}) == (None, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ('[[run]]\nname = "a"', "wants name, recipe and status"),
        ('[[run]]\nname = "a"\nrecipe = "r"\nstatus = "maybe"', "one of open, done, diverged"),
        ('[[run]]\nname = "a"\nrecipe = "r"\nstatus = "open"\nstart = "b"', "no run before it"),
    ],
)
def test_a_queue_that_makes_no_sense(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "queue.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_queue(tmp_path / "queue.toml")


def test_the_ledger_grows_where_its_table_is(tmp_path: Path) -> None:
    path = tmp_path / "LEDGER.md"
    path.write_text("# Ledger\n\nText.\n")
    for name in "ab":
        ledger.add_row(path, dict.fromkeys(ledger.COLUMNS, "-") | {"run": name})
        with path.open("a") as file:
            file.write("\n## Another section\n" if name == "a" else "")
    lines = path.read_text().splitlines()
    rows = [i for i, line in enumerate(lines) if line.startswith("| -")]
    assert len(rows) == 2 and rows[1] == rows[0] + 1 < lines.index("## Another section")


def test_a_ledger_takes_over_rows(tmp_path: Path) -> None:
    here, there = tmp_path / "here.md", tmp_path / "there.md"
    for path, names in ((here, "ab"), (there, "bc")):
        for name in names:
            ledger.add_row(path, dict.fromkeys(ledger.COLUMNS, "-") | {"run": name})
    ledger.take_over(here, there)
    ledger.take_over(here, tmp_path / "nowhere.md")
    ledger.take_over(tmp_path / "new.md", there)
    runs = [[line.split(" | ")[1] for line in p.read_text().splitlines() if line.startswith("| -")]
            for p in (here, tmp_path / "new.md")]  # fmt: skip
    assert runs == [["a", "b", "c"], ["b", "c"]]


def test_files_in_parts(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(2500)
    write_shards(tmp_path, data, 1000)
    assert sorted(p.stat().st_size for p in tmp_path.glob("*.part")) == [500, 1000, 1000]
    assert read_shards(tmp_path) == data
    write_shards(tmp_path, data[:10], 1000)
    assert len(list(tmp_path.glob("*.part"))) == 1
    part = next(tmp_path.glob("*.part"))
    part.write_bytes(b"0123456789")
    with pytest.raises(UsageError, match="is damaged"):
        read_shards(tmp_path)
    part.unlink()
    with pytest.raises(UsageError, match="is missing"):
        read_shards(tmp_path)
    with pytest.raises(UsageError, match="no file in parts"):
        read_shards(tmp_path / "elsewhere")


def _tar(folder: Path, name: str, seed: int) -> bytes:
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        rng, png = np.random.default_rng(seed), io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(png, "png")
        member = tarfile.TarInfo(f"{name}.png")
        member.size = png.tell()
        png.seek(0)
        tar.addfile(member, png)
    return data.getvalue()


def test_a_slice_brings_back_what_an_earlier_one_took_home(tmp_path: Path) -> None:
    """Models, adapters and logs of all runs, whatever their names, so that later runs start and logs go on."""
    script = runpy.run_path(str(ROOT / "training" / "slice.py"))
    first, second, outbox = (tmp_path / name for name in ("first", "second", "out"))
    files = ("model.safetensors", "adapter.safetensors", "log.jsonl", "validation.jsonl")
    for run in ("tic-0.0067", "region"):
        (first / run).mkdir(parents=True)
        for name in files:
            (first / run / name).write_text(f"{run} {name}")
    for folder in (second, outbox):
        folder.mkdir()
    queue = tmp_path / "queue.toml"
    queue.write_text(QUEUE)
    script["take_home"](first, outbox, queue)
    (second / "region").mkdir()
    (second / "region" / "log.jsonl").write_text("newer")
    script["bring_back"](second, outbox)
    for run in ("tic-0.0067", "region"):
        for name in files:
            expected = "newer" if (run, name) == ("region", "log.jsonl") else f"{run} {name}"
            assert (second / run / name).read_text() == expected
    assert {path.name for path in second.iterdir()} == {"tic-0.0067", "region"}


def _slice(tmp_path: Path, work: str, minutes: float) -> list[str]:
    arguments = ["--inbox", tmp_path / "in", "--work", tmp_path / work, "--outbox", tmp_path / "out"]
    arguments += ["--queue", tmp_path / "queue.toml", "--minutes", minutes, "--device", "cpu"]
    arguments += ["--validation", tmp_path / "val"]
    return [sys.executable, str(ROOT / "training" / "slice.py"), "start", *map(str, arguments)]


def _wait(log: Path, text: str, seconds: float = 300) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if log.is_file() and text in log.read_text():
            return log.read_text()
        time.sleep(0.05)
    raise AssertionError(f"no {text!r} in\n{log.read_text() if log.is_file() else 'no log'}")


@pytest.mark.slow
def test_a_slice_from_data_in_parts_to_weights(queue: Path, tmp_path: Path) -> None:
    """Training starts with the first shard, takes up the second, is killed, and ends on another machine."""
    (tmp_path / "in").mkdir()
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "c.tar").write_bytes(_tar(tmp_path, "c", 2))
    write_shards(tmp_path / "in" / "a", _tar(tmp_path, "a", 0), 10_000)
    endless = TOY.replace("samples = 8", "samples = 100_000").replace("checkpoint_minutes = 0.001", "")
    (tmp_path / "toy.toml").write_text(endless)
    subprocess.run(_slice(tmp_path, "first", 5), check=True)
    log = tmp_path / "first" / "slice.log"
    _wait(log, "crops/s")
    (tmp_path / "in" / "b.tar").write_bytes(_tar(tmp_path, "b", 1))
    text = _wait(log, "1 more from the data (b.tar")
    assert "one: starting from chance" in text
    os.kill(int((tmp_path / "first" / "training.pid").read_text()), signal.SIGKILL)
    _wait(log, "training ended with")
    reached = json.loads((tmp_path / "first" / "runs" / "one" / "log.jsonl").read_text().splitlines()[-1])["samples"]
    # The next machine has nothing but the data, the recipes and what was taken home.
    (tmp_path / "toy.toml").write_text(TOY.replace("samples = 8", f"samples = {reached + 20}"))
    queue.write_text(QUEUE.replace("set = { samples = 16 }", "set = { samples = 6 }"))
    subprocess.run(_slice(tmp_path, "second", 5), check=True)
    text = _wait(tmp_path / "second" / "slice.log", "training ended with 0")
    assert "with a warm-up of the optimiser" in text
    assert "the queue is done" in text
    assert ready_run(queue, tmp_path, {}) == (None, [])
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "one",
        "two",
        "one.safetensors",
        "two.safetensors",
        "queue.toml",
        "LEDGER.md",
        "one.validation.jsonl",
    } <= out
    assert [row.dataset for row in read_rd(tmp_path / "out" / "two.validation.jsonl")] == ["val"]
    rows = [line for line in (tmp_path / "LEDGER.md").read_text().splitlines() if line.startswith("| 2")]
    assert len(rows) == 2
    # A fresh copy of the repository knows nothing of that, the outbox does.
    queue.write_text(QUEUE)
    (tmp_path / "LEDGER.md").unlink()
    subprocess.run(_slice(tmp_path, "third", 5), check=True)
    assert "the queue is done" in _wait(tmp_path / "third" / "slice.log", "training ended with 0")
    assert {path.name for path in (tmp_path / "second" / "runs" / "one").iterdir()} >= {
        "checkpoint.safetensors",
        "log.jsonl",
    }
    brought = {path.name for path in (tmp_path / "third" / "runs" / "one").iterdir()}
    assert "checkpoint.safetensors" not in brought  # nothing is trained again
    assert "log.jsonl" in brought  # but what is known of it is there
    assert [line for line in (tmp_path / "LEDGER.md").read_text().splitlines() if line.startswith("| 2")] == rows
