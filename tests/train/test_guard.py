"""A run that diverges goes back and goes on; one that does not is left alone."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_distributed import SCRIPT, port
from test_loop import begun, equal

from promptcodec.errors import DivergenceError, UsageError
from promptcodec.train.build import build_trainer
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.run.checkpoint import load_checkpoint
from promptcodec.train.run.distributed import World
from promptcodec.train.run.divergence import HISTORY, LOOK_EVERY, DivergenceMonitor, Verdict

AT = 100  # the step before which weights are harmed: looks are at 96 and 112


@pytest.fixture
def recipe(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, samples=640, guard_steps=16, warmup=400, decay=0.0, log_every=1)


def harmed(trainer: Trainer, factor: float, at: int = AT, stop_after: Sequence[int] = ()) -> Trainer:
    """``trainer``, whose weights are multiplied by ``factor`` before one step, and that gets SIGTERM in others."""
    inner = trainer.train_step

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        if trainer.step == at:
            with torch.no_grad():
                trainer.task.model.g_s.shortcut.weight.mul_(factor)  # which learns slowly
        figures = inner()
        if trainer.step in stop_after:
            os.kill(os.getpid(), signal.SIGTERM)
        return figures

    trainer.train_step = step  # type: ignore[method-assign]
    return trainer


def logged(folder: Path) -> tuple[list[dict], list[dict]]:
    """Rows of steps, and of returns."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [row for row in rows if "rollback" not in row], [row for row in rows if "rollback" in row]


def test_a_run_that_diverges_goes_back_and_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    told: list[str] = []
    trainer = harmed(begun(recipe, tmp_path, say=told.append), 30.0)
    trainer.train()
    steps, (back,) = logged(tmp_path)
    assert (back["rollback"], back["step"], back["from"]) == (1, 112, 448)
    assert back["samples"] == 4 * 80  # of step 96 it was not known yet that all went well after it
    assert back["loss"] > 2 * back["usual_loss"]
    assert "diverged at 448 samples: loss" in told[-1] and "back to 320 samples, at 0.7 of the learning" in told[-1]
    losses = {row["step"]: row["loss"] for row in steps}
    assert min(losses[step] for step in range(AT + 1, 113)) > max(losses[step] for step in range(150, 193))
    assert [row["samples"] for row in steps if row["step"] in (112, 113)] == [448, 324]
    rates = {row["step"]: row["rate"] for row in steps}
    assert rates[113] == pytest.approx(0.7 * rates[81], abs=1e-4)  # of as many samples
    assert (trainer.samples, trainer.step) == (640, 192)
    state = load_checkpoint(tmp_path)
    assert (state["guard"]["rollbacks"], state["guard"]["rate"], state["guard"]["attempts"]) == (1, 0.7, 0)


def test_crops_after_a_return_are_others(recipe: Recipe, tmp_path: Path) -> None:
    seen: dict[int, torch.Tensor] = {}
    trainer = harmed(begun(recipe, tmp_path), 30.0)
    batch = trainer.data.sampler.batch

    def kept(step: int, *place: int) -> torch.Tensor:
        assert step not in seen
        seen[step] = batch(step, *place)
        return seen[step]

    trainer.data.sampler.batch = kept  # type: ignore[method-assign]
    trainer.train()
    assert not torch.equal(seen[80], seen[112])  # both are the 21st batch of these weights


def test_a_run_that_is_well_is_the_run_without_a_guard(recipe: Recipe, tmp_path: Path) -> None:
    guarded, free = tmp_path / "guarded", tmp_path / "free"
    for folder, bound in ((guarded, 2.0), (free, 0.0)):
        begun(dataclasses.replace(recipe, guard=bound), folder).train()
    equal(load_checkpoint(guarded), load_checkpoint(free))
    assert logged(guarded)[1] == []
    assert [row["loss"] for row in logged(guarded)[0]] == [row["loss"] for row in logged(free)[0]]
    assert sorted(path.name for path in guarded.glob("good-*")) == ["good-144.safetensors", "good-160.safetensors"]
    assert list(free.glob("good-*")) == []


def test_a_resumed_run_goes_back_as_one_that_was_not_cut(recipe: Recipe, tmp_path: Path) -> None:
    """Cut while it diverges, after it went back, and before the state that it goes back to is known to be good."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    harmed(begun(recipe, whole), 30.0).train()
    cuts = (90, AT + 5, 117)
    for cut in (*cuts, 10**6):
        trainer = harmed(begun(recipe, parts), 30.0, stop_after=[cut])
        trainer.train()
        assert trainer.step == min(cut, 192)
    equal(load_checkpoint(whole), load_checkpoint(parts))
    assert load_checkpoint(whole)["guard"] == load_checkpoint(parts)["guard"]
    assert [row["from"] for row in logged(parts)[1]] == [448]
    assert [row["loss"] for row in logged(whole)[0]] == [row["loss"] for row in logged(parts)[0]]


def test_weights_that_are_not_finite(recipe: Recipe, tmp_path: Path) -> None:
    told: list[str] = []
    trainer = harmed(begun(recipe, tmp_path, say=told.append), float("nan"))
    trainer.train()
    (back,) = logged(tmp_path)[1]
    assert (back["from"], back["samples"], back["loss"]) == (448, 320, None)
    assert "loss not finite" in told[-1]
    assert all(torch.isfinite(value).all() for value in trainer.average.values())


def test_a_run_that_diverges_at_once_begins_again(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, samples=400, guard_steps=256)
    trainer = harmed(begun(recipe, tmp_path), 30.0, at=10)
    begin = {name: value.clone() for name, value in trainer.task.model.state_dict().items()}
    look, after = trainer.guard.look, []

    def kept(*arguments):
        after.append(look(*arguments))
        return after[-1]

    trainer.guard.look = kept
    trainer.train()
    (rollback,) = filter(None, after)
    (back,) = logged(tmp_path)[1]
    assert (back["step"], back["samples"]) == (32, 0)
    for name, value in begin.items():
        assert torch.equal(rollback.state["model"][name], value)
    assert trainer.samples == 400


def test_a_run_that_goes_on_diverging_ends(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, learning_rate=3.0, warmup=0, guard_retries=2)
    with pytest.raises(DivergenceError, match=r"3 times in a row .* lower learning_rate"):
        begun(recipe, tmp_path / "ends").train()
    returns = logged(tmp_path / "ends")[1]
    assert [row["rollback"] for row in returns] == [1, 2, 3]
    assert returns[-1]["rate"] == pytest.approx(0.7**3, abs=1e-4)
    state = load_checkpoint(tmp_path / "ends")
    assert state["samples"] == returns[-1]["samples"]
    trainer = begun(dataclasses.replace(recipe, learning_rate=1e-3), tmp_path / "ends")
    trainer.train()
    assert trainer.samples == 640
    trainer = begun(dataclasses.replace(recipe, guard_rate=0.02), tmp_path / "helps")
    trainer.train()
    assert 1 <= trainer.guard.rollbacks <= 2
    assert logged(tmp_path / "helps")[0][-1]["loss"] < min(row["loss"] for row in returns if row["loss"])


def test_a_copy_that_travels_is_of_a_good_state(recipe: Recipe, tmp_path: Path) -> None:
    trainer = harmed(begun(recipe, tmp_path / "1", portable=tmp_path / "copy"), 30.0, stop_after=[111])
    trainer.train()
    assert load_checkpoint(tmp_path / "1")["samples"] == 444
    second = build_trainer(recipe, tmp_path / "2", portable=tmp_path / "copy")
    assert "continuing at 320 samples" in second.begin()
    second.train()
    assert second.samples == 640
    assert logged(tmp_path / "2")[1] == []


def test_another_recipe_has_other_losses(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    """Going on with another distortion, whose losses are larger, is no divergence."""
    for path in pictures.iterdir():
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (192, 192, 3), dtype=np.uint8)).save(path)
    first = dataclasses.replace(recipe, distortion="ms-ssim", patch=176, min_scale=1.0, samples=100)
    before = begun(first, tmp_path)
    before.train()
    trainer = begun(dataclasses.replace(recipe, samples=200), tmp_path)
    trainer.train()
    assert (trainer.samples, trainer.guard.rollbacks) == (200, 0)
    assert trainer.guard.monitor.figures()["loss"] > 2 * before.guard.monitor.figures()["loss"]


def test_several_processes_go_back_together(recipe: Recipe, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, samples=240, parts=2)
    script = SCRIPT.replace("trainer.train()", "from test_guard import harmed\nharmed(trainer, 30.0, 40).train()")
    arguments = [str(Path(__file__).parent), json.dumps(dataclasses.asdict(recipe)), str(tmp_path / "two")]
    places = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=os.environ | places | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    harmed(begun(recipe, tmp_path / "one"), 30.0, 40).train()
    for name in ("one", "two"):
        assert [(row["from"], row["samples"]) for row in logged(tmp_path / name)[1]] == [(192, 64)]
    assert load_checkpoint(tmp_path / "two")["samples"] == 240


def fed(monitor: DivergenceMonitor, loss: float, norm: float, steps: int = LOOK_EVERY) -> Verdict:
    for _ in range(steps):
        monitor.add(torch.tensor([4.0, 4 * loss, 0.0]), torch.tensor(norm))
    return monitor.look()


def test_what_diverges() -> None:
    monitor = DivergenceMonitor((2.0, 10.0), World())
    assert [fed(monitor, loss, norm) for loss, norm in ((9.0, 1.0), (1.0, 40.0))] == [Verdict.WELL] * 2  # it learns
    assert [fed(monitor, 1.0, 5.0) for _ in range(HISTORY)] == [Verdict.WELL] * HISTORY
    assert fed(monitor, 1.3, 14.0) is Verdict.WELL
    assert fed(monitor, 1.5, 5.0) is Verdict.DOUBTFUL
    assert fed(monitor, 1.1, 16.0) is Verdict.DOUBTFUL
    assert fed(monitor, 2.1, 5.0) is Verdict.DIVERGED
    assert fed(monitor, 1.1, 51.0) is Verdict.DIVERGED
    assert fed(monitor, float("nan"), 5.0) is Verdict.DIVERGED
    assert fed(monitor, 0.9, float("inf")) is Verdict.DIVERGED


def test_single_batches_are_no_divergence() -> None:
    monitor = DivergenceMonitor((2.0, 10.0), World())
    fed(monitor, 1.0, 5.0)
    for value in (100.0, float("nan")):
        for step in range(LOOK_EVERY):
            hard = step % 3 == 0
            monitor.add(torch.tensor([4.0, 4 * value if hard else 4.0, 0.0]), torch.tensor(value if hard else 5.0))
        assert monitor.look() is Verdict.WELL


def test_bounds_below_the_usual_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"guard and guard_norm are 0\.5 and 10\.0, expected more than 1"):
        build_trainer(dataclasses.replace(recipe, guard=0.5), tmp_path)
