"""Training: a loss that falls, and resuming that changes nothing."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.model.presets import registry as presets
from promptcodec.train.build import build_trainer
from promptcodec.train.data.pictures import load_pictures
from promptcodec.train.linear_start import UNIT, linear_start, opponent_dct
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import load_recipe
from promptcodec.train.run.checkpoint import load_checkpoint
from promptcodec.train.validation import validate


def equal(one: dict, other: dict) -> None:
    """Two trainer states hold the same tensors."""
    for key in ("model", "average"):
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), name


def begun(recipe: Recipe, folder: Path, **options) -> Trainer:
    trainer = build_trainer(recipe, folder, **options)
    trainer.begin()
    return trainer


def test_a_run_cut_in_two_equals_one_that_was_not(recipe: Recipe, tmp_path: Path) -> None:
    whole = begun(recipe, tmp_path / "whole")
    for _ in range(6):
        whole.train_step()
    first = begun(recipe, tmp_path / "parts")
    for _ in range(4):
        first.train_step()
    first.train(max_seconds=0)  # no step more, and a checkpoint
    second = build_trainer(recipe, tmp_path / "parts")
    assert "continuing at 16 samples" in second.begin()
    for _ in range(2):
        second.train_step()
    assert second.step == whole.step == 6
    equal(whole.state(), second.state())


def test_a_killed_run_goes_on_as_if_it_was_not(recipe: Recipe, tmp_path: Path) -> None:
    """kill -9 in the middle: the run resumes at its last checkpoint, and ends at the same weights."""
    script = (
        "import sys, json; sys.path[:0] = [sys.argv[1]]; from pathlib import Path; from conftest import tiny\n"
        "from promptcodec.model.presets import registry as presets; from promptcodec.train import start\n"
        "from promptcodec.train.build import build_trainer\n"
        "from promptcodec.train.recipe_file import read_recipe\n"
        "presets.PRESETS['tiny'] = tiny; start.START_CROPS = 128\n"
        "r = read_recipe(json.loads(sys.argv[2]), 'test')\n"
        "t = build_trainer(r, Path(sys.argv[3])); t.begin(); t.train()"
    )
    recipe = dataclasses.replace(recipe, samples=160, checkpoint_minutes=1e-9, log_every=1)

    def start(folder: Path) -> subprocess.Popen:
        arguments = [str(Path(__file__).parent), json.dumps(dataclasses.asdict(recipe)), str(folder)]
        return subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.DEVNULL)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = start(killed)
    log = killed / "log.jsonl"
    while process.poll() is None and not (log.is_file() and log.read_text().count("\n") >= 5):
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reached = load_checkpoint(killed)
    assert 0 < reached["samples"] < 160
    assert start(killed).wait() == 0
    trainer = begun(recipe, whole)
    trainer.train()
    assert load_checkpoint(killed)["samples"] == 160
    equal(load_checkpoint(killed), load_checkpoint(whole))


def test_sigterm_leaves_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    trainer = begun(dataclasses.replace(recipe, log_every=2), tmp_path)
    trainer.train(report=lambda _: os.kill(os.getpid(), signal.SIGTERM))
    assert trainer.samples == load_checkpoint(tmp_path)["samples"] == 8


def test_training_lowers_the_loss(recipe: Recipe, tmp_path: Path) -> None:
    trainer = begun(recipe, tmp_path)
    pictures = load_pictures(recipe.data)
    before = validate(trainer.task.model, pictures, [0.5])[0]
    trainer.train()
    assert trainer.samples == 800
    after = validate(trainer.averaged(), pictures, [0.5])[0]
    weight = 255**2 * trainer.task.model.gain.rate_lambda(torch.tensor(0.5)).item()
    cost = [row["bpp"] + weight * 10 ** (-row["psnr"] / 10) for row in (before, after)]
    assert cost[1] < 0.9 * cost[0]
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["samples"] for row in rows] == list(range(40, 801, 40))
    (low, _), _, (high, _) = rows[-1]["rd"]
    assert low < high
    assert rows[-1]["tflops"] > 0


def test_linear_start_is_a_codec(recipe: Recipe, tmp_path: Path) -> None:
    """Before any training the shortcut alone reconstructs: it is an orthonormal transform and its transpose."""
    trainer = begun(recipe, tmp_path)
    x = trainer.data.sampler.batch(0, 4)
    y = trainer.task.model.g_a(x)
    basis = torch.einsum(
        "icuv,jcuv->ij", trainer.task.model.g_a.shortcut.weight, trainer.task.model.g_a.shortcut.weight
    )
    torch.testing.assert_close(basis * UNIT**2, torch.eye(24), atol=1e-4, rtol=0)
    assert ((trainer.task.model.g_s(y) - x) ** 2).mean() < 0.2 * x.var()
    assert torch.allclose(opponent_dct(8).flatten(1) @ opponent_dct(8).flatten(1).T, torch.eye(192).double())
    with pytest.raises(UsageError, match="no linear shortcut"):
        from promptcodec.model.base import CompressionModel

        linear_start(CompressionModel(presets.tic(16, 32)), x)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patchh = 3", "unknown key"),
        ("patch = 'big'", "expected int"),
        ("patch = ", "cannot be read"),
        ("patch = 0", "patch is 0, expected 16 or more"),
        ("log_every = 0", "log_every is 0, expected 1 or more"),
        ("decay = 5", r"decay is 5, expected 0 to 1"),
        ("learning_rate = nan", "learning_rate is nan, expected 0 or more"),
        ("learning_rate = true", "expected float"),
        ("rates = 0.5", "expected two ends"),
        ("rates = ['a', 'b']", "expected a list of numbers"),
        ("data = [1]", r"data is \[1\], expected a list of strings"),
        ("features = 'x'", "without a feature_weight"),
        ("feature_weight = 1.0", "want features"),
        ("start_lambda = 0.01", "give that too"),
        ("base_lambda = 0.01", "base_lambda is for"),
        ("train = 'joint'\nobjective = 'region'\nfeatures = 'x'", "knows no features"),
        ("train = 'joint'\nobjective = 'single'\nfeatures = 'x'\ndistortion = 'ms-ssim'", "has one metric"),
    ],
)
def test_recipes_refuse_nonsense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_recipe(path)


def test_a_run_says_what_its_recipe_changed(recipe: Recipe, tmp_path: Path) -> None:
    first = begun(recipe, tmp_path, portable=tmp_path / "copy")
    first.train_step()
    first.save()
    assert build_trainer(recipe, tmp_path).begin() == "continuing at 4 samples"
    other = dataclasses.replace(recipe, decay=0.5, patch=96, data=("elsewhere",))
    assert (
        build_trainer(other, tmp_path).begin() == "continuing at 4 samples (changed: patch 64 to 96, decay 0.2 to 0.5)"
    )
    said = build_trainer(other, tmp_path / "2", portable=tmp_path / "copy").begin()
    assert said.endswith("a warm-up of the optimiser (changed: patch 64 to 96, decay 0.2 to 0.5)")
    with pytest.raises(UsageError, match=r"other networks than this recipe's \(changed: model tiny to nano\)"):
        build_trainer(dataclasses.replace(recipe, model="nano"), tmp_path).begin()


def test_a_run_goes_on_with_another_batch_and_patch(recipe: Recipe, tmp_path: Path) -> None:
    first = begun(recipe, tmp_path)
    first.train_step()
    first.save()
    second = begun(dataclasses.replace(recipe, batch=2, patch=96, decay=0.5), tmp_path)
    assert second.samples == recipe.batch
    second.train_step()
    assert (second.step, second.samples) == (2, recipe.batch + 2)


def test_a_checkpoint_of_the_first_release_still_resumes(recipe: Recipe, tmp_path: Path) -> None:
    """It had no data, no seconds, and quantiles whose optimiser was not fused."""
    from promptcodec.train.run.checkpoint import save_checkpoint

    first = begun(recipe, tmp_path)
    first.train_step()
    state = first.state()
    for key in ("data", "seconds", "restarted"):
        del state[key]
    state["auxiliary"]["param_groups"][0]["fused"] = None
    save_checkpoint(tmp_path, state)
    second = begun(dataclasses.replace(recipe, learning_rate=2e-4), tmp_path)
    second.train_step()
    assert second.samples == 8
    assert second.optimiser.networks.param_groups[0]["base"] == 2e-4  # the recipe's, not the checkpoint's


def test_a_batch_that_is_not_finite_changes_nothing(recipe: Recipe, tmp_path: Path) -> None:
    trainer = begun(recipe, tmp_path)
    trainer.train_step()
    before = {k: v.clone() for k, v in trainer.task.model.state_dict().items()}
    for parameter in trainer.task.model.parameters():
        parameter.grad = torch.full_like(parameter, float("nan"))
    trainer.optimiser.step(1.0)
    for name, value in trainer.task.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_another_optimiser_is_what_steps(recipe: Recipe, tmp_path: Path) -> None:
    trainer = begun(recipe, tmp_path)
    bias = trainer.task.model.h_s.layers[-1].bias
    trainer.optimiser.networks = torch.optim.SGD([{"params": [bias], "base": 0.5, "lr": 0.5}])
    before = {name: value.clone() for name, value in trainer.task.model.named_parameters()}
    trainer.optimiser.zero_grad()
    bias.grad = torch.full_like(bias, 1e-3)
    trainer.optimiser.step(0.5)
    moved = before[f"h_s.layers.{len(trainer.task.model.h_s.layers) - 1}.bias"] - bias
    assert torch.allclose(moved, torch.full_like(moved, 0.5 * 0.5 * 1e-3), atol=1e-5)
    for name, value in trainer.task.model.named_parameters():
        assert value is bias or torch.equal(value, before[name]), name


def test_parts_of_a_batch_add_up(recipe: Recipe, tmp_path: Path) -> None:
    """Without noise, a batch in one piece and one in parts are the same step."""
    recipe = dataclasses.replace(recipe, quantisation="round", stochastic_depth=False)
    one, two = begun(recipe, tmp_path / "1"), begun(dataclasses.replace(recipe, parts=2), tmp_path / "2")
    for trainer in (one, two):
        trainer.train_step()
    for name, value in one.task.model.state_dict().items():
        torch.testing.assert_close(value, two.task.model.state_dict()[name], atol=2e-5, rtol=1e-4)


def test_a_compiler_that_fails_is_no_reason_to_stop(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(module):
        def call(*_):
            raise RuntimeError("no compiler here\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", fails)
    told = []
    trainer = begun(dataclasses.replace(recipe, compile=True), tmp_path / "1", say=told.append)
    plain = begun(recipe, tmp_path / "2")
    for either in (trainer, plain):
        either.train_step()
    assert told[-1] == "torch.compile failed, going on without it: RuntimeError: no compiler here"
    equal(trainer.state(), plain.state())


def test_a_portable_copy_starts_a_run(recipe: Recipe, tmp_path: Path) -> None:
    first = begun(recipe, tmp_path / "1", portable=tmp_path / "copy")
    for _ in range(3):
        first.train_step()
    first.save()
    files = list((tmp_path / "copy").iterdir())
    assert all(file.stat().st_size <= 16 * 2**20 for file in files)
    weights = sum(v.numel() for v in first.task.model.state_dict().values())
    assert sum(file.stat().st_size for file in files) < 4 * weights + 60_000
    second = build_trainer(recipe, tmp_path / "2", portable=tmp_path / "copy")
    assert "warm-up of the optimiser" in second.begin()
    assert second.samples == second.restarted == 12
    for name, value in first.average.items():
        torch.testing.assert_close(value, second.average[name], atol=1e-6, rtol=1e-3)
    second.train(max_seconds=0)
    third = begun(recipe, tmp_path / "2")
    assert third.restarted == 12  # the warm-up goes on where it was


def test_a_fixed_rate_starts_a_variable_one(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the rate that the weights were trained for, the new model is the old one."""
    from conftest import tiny

    from promptcodec.store.model_file import save_model

    monkeypatch.setitem(presets.PRESETS, "tiny-fixed", lambda: dataclasses.replace(tiny(), name="fixed", gain=None))
    fixed = begun(dataclasses.replace(recipe, model="tiny-fixed", fixed_lambda=0.006), tmp_path / "1")
    fixed.train_step()
    weights = tmp_path / "fixed.safetensors"
    save_model(fixed.task.model, weights, "1")
    varied = dataclasses.replace(recipe, start=str(weights), start_lambda=0.006)
    trainer = begun(varied, tmp_path / "2")
    x = fixed.data.sampler.batch(0, 2)
    gain = trainer.task.model.gain
    q = torch.log(torch.tensor([0.006, 0.006]) / gain.lambda_min) / torch.log(
        torch.tensor(gain.lambda_max / gain.lambda_min)
    )
    fixed.task.model.load_state_dict({k: v.half().float() for k, v in fixed.task.model.state_dict().items()})
    with torch.no_grad():
        old, new = fixed.task.model.eval()(x), trainer.task.model.eval()(x, q)
    torch.testing.assert_close(old["x_hat"], new["x_hat"], atol=2e-3, rtol=0)
    trainer.train_step()
    with pytest.raises(UsageError, match="expected the fixed lambda"):
        begun(dataclasses.replace(varied, start_lambda=0.0), tmp_path / "3")
    with pytest.raises(UsageError, match="nano adds more to it than a variable rate"):
        begun(dataclasses.replace(varied, model="nano"), tmp_path / "4")
