"""Two processes and one: the same steps at the same global batch."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.checkpoint import load_checkpoint
from promptcodec.train.run.distributed import World

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import tiny
from promptcodec.model.presets import registry as presets
from promptcodec.train import start
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.run.distributed import World
presets.PRESETS["tiny"] = tiny
start.START_CROPS = 128
trainer = build_trainer(read_recipe(json.loads(sys.argv[2]), "test"), Path(sys.argv[3]), world=World.join())
trainer.begin()
trainer.train()
"""


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_two_processes_equal_one(recipe: Recipe, tmp_path: Path) -> None:
    """Noise and dropped blocks included: what one process draws for two parts, two processes draw for theirs."""
    recipe = dataclasses.replace(recipe, samples=12, parts=2, log_every=1)
    at = port()
    arguments = [str(Path(__file__).parent), json.dumps(dataclasses.asdict(recipe)), str(tmp_path / "two")]
    processes = []
    for rank in range(2):  # what torchrun does
        places = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
        environment = os.environ | places | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(at)}
        processes.append(subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], env=environment))
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    one = build_trainer(recipe, tmp_path / "one")
    one.begin()
    one.train()
    two = load_checkpoint(tmp_path / "two")
    assert two["samples"] == 12
    for name, value in one.task.model.state_dict().items():
        torch.testing.assert_close(value, two["model"][name], atol=1e-6, rtol=1e-5)
    rows = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").open()] for n in ("one", "two")]
    for a, b in zip(*rows, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


@pytest.mark.slow
def test_torchrun_equals_one_process(recipe: Recipe, tmp_path: Path) -> None:
    """The commands of the documentation: two processes of one machine, then two nodes with a shared folder go on."""
    for name, samples in (("half", 8), ("whole", 16)):
        values = {"model": "tiny", "patch": 64, "batch": 4, "samples": samples, "log_every": 1, "threads": 1,
                  "warmup": 40, "precision": "float32", "parts": 2}  # fmt: skip
        (tmp_path / f"{name}.toml").write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items()))
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from conftest import tiny\n"
        "from promptcodec.model.presets import registry as presets\n"
        "from promptcodec.train import start\n"
        "presets.PRESETS['tiny'] = tiny\n"
        "start.START_CROPS = 128\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    run = [sys.executable, "-m", "torch.distributed.run"]
    machine = [*run, "--standalone", "--nproc-per-node=2", "-m"]
    node = [*run, "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port()}"]
    nodes = [[*node, "--rdzv-id=test", "-m"]] * 2
    one = [sys.executable, "-m"]
    for folder, launchers in (("two", {"half": [machine], "whole": nodes}), ("one", {"half": [one], "whole": [one]})):
        for part, starts in launchers.items():
            command = ["promptcodec", "train", f"{tmp_path / part}.toml", "-o", str(tmp_path / folder)]
            command += ["--data", recipe.data[0], "--device", "cpu"]
            processes = [
                subprocess.Popen(
                    [*start, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
                for start in starts
            ]
            done = [(*process.communicate(timeout=300), process.returncode) for process in processes]
            assert not any(code for *_, code in done), done[0][1][-2000:] + done[-1][1][-2000:]
            assert sum(out.count("model.safetensors: ") for out, *_ in done) == 1  # one process writes and speaks
    alone, shared = (load_checkpoint(tmp_path / folder) for folder in ("one", "two"))
    assert alone is not None
    assert shared is not None
    assert alone["samples"] == shared["samples"] == 16
    for part in ("model", "average"):
        for name, value in alone[part].items():
            torch.testing.assert_close(value, shared[part][name], atol=2e-6, rtol=1e-5)


def test_a_batch_must_divide(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be shared out evenly to 2 processes"):
        build_trainer(dataclasses.replace(recipe, parts=3, batch=3), tmp_path, world=World(0, 2))
    with pytest.raises(UsageError, match="does not divide into 5 parts"):
        build_trainer(recipe, tmp_path, world=World(0, 5))
