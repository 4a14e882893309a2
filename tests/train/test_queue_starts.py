"""Every run of the queue starts in bfloat16: its trainer is built from what earlier runs left, and makes a step."""

import json
from pathlib import Path

import pytest
from narrow import narrow
from pictures import make_photo
from PIL import Image
from queue_file import QueuedRun, read_queue
from recogniser import save_recogniser

from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import CONFIGURATIONS, PRESETS
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.store.model_file import save_model
from promptcodec.train import growth
from promptcodec.train.build import build_trainer
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import load_recipe

QUEUE = Path(__file__).resolve().parents[2] / "training" / "queue.toml"
PATCH, REFLECTED, FOR_MS_SSIM = 64, 80, 176  # pixels a side: the least, of maps that are mirrored, of MS-SSIM
LEVEL = 256  # channels of the recogniser's level that transtic-channels' transform stands for


def given(run: QueuedRun) -> Recipe:
    """The recipe as the queue has it, without the files that it needs."""
    starts = {"start": "x"} if run.start else {}
    return load_recipe(run.recipe, dict(run.changes) | starts)


def kind_of(run: QueuedRun, model: str) -> str:
    """What decides how a run meets bfloat16, of what the configuration ``model`` starts it: neither rates nor metrics
    do, which are float32, and runs without steering are alike but for their recipe.
    """
    recipe = given(run)
    if recipe.train == "model":
        return run.recipe.name
    fields = (recipe.train, recipe.adapter, recipe.objective, recipe.masks, bool(run.start_adapter))
    return json.dumps([model, *fields])


def start(run: QueuedRun, runs: Path, pictures: Path, networks: dict[str, str]) -> None:
    """One step, and the files that later runs start from."""
    recipe = given(run)
    patch = FOR_MS_SSIM if recipe.distortion == "ms-ssim" else REFLECTED if recipe.model == "song" else PATCH
    small = {
        "data": [str(pictures)], "validation": [], "patch": patch, "batch": 2, "threads": 1, "device": "cpu",
        "precision": "bfloat16",
    }  # fmt: skip
    files = {key: path for key, path in networks.items() if getattr(recipe, key)}
    grown = runs.parent / f"{recipe.start}.safetensors"  # where models are narrow, so is what they grow from
    if recipe.train == "model" and not run.start and grown.is_file():
        files["start"] = str(grown)
    try:
        trainer = build_trainer(run.load(runs, small | files), runs / run.name, say=lambda _: None)
        trainer.begin()
        trainer.train_step()
    except Exception as error:
        error.add_note(f"in run {run.name}")
        raise
    assert all(value.isfinite().all() for value in trainer.task.trained.parameters())
    (runs / run.name).mkdir(parents=True)
    if recipe.train != "adapter":
        save_model(trainer.averaged(), runs / run.name / "model.safetensors", "0")
    if (adapter := trainer.averaged_adapter()) is not None:
        save_adapter(adapter, trainer.averaged(), runs / run.name / "adapter.safetensors")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(make_photo(FOR_MS_SSIM + 24, FOR_MS_SSIM + 24, i)).save(folder / f"{i}.png")
    return folder


def test_every_kind_of_run_starts(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of each kind, on narrow models of the same structure."""
    monkeypatch.setattr("promptcodec.train.start.START_CROPS", 16)
    monkeypatch.setattr(growth, "FIT_STEPS", 2)
    for name, model in dict(CONFIGURATIONS).items():
        monkeypatch.setitem(PRESETS, name, lambda model=model: narrow(model()))
    save_model(CompressionModel(CONFIGURATIONS["nano"]()), tmp_path / "nano.safetensors", "0")
    networks, runs = save_recogniser(tmp_path, LEVEL), tmp_path / "runs"
    models: dict[str, str] = {}  # the configuration of every run
    started: dict[str, str] = {}  # the run of each kind
    queue = read_queue(QUEUE)
    for run in sorted(queue, key=lambda run: given(run).distortion == "ms-ssim"):  # those of larger crops after others
        recipe = given(run)
        models[run.name] = models[run.start] if run.start and recipe.train != "model" else recipe.model
        alike = started.setdefault(kind_of(run, models[run.name]), run.name)
        if alike == run.name:
            start(run, runs, photos, networks)
        elif recipe.train == "model":  # nothing but its model is wanted
            (runs / run.name).mkdir()
            save_model(CompressionModel(CONFIGURATIONS[recipe.model]()), runs / run.name / "model.safetensors", "0")
    assert {run.name for run in queue} >= set(started.values()) >= {"lpm-0.0018", "kao-ngram-stage3", "song"}


@pytest.mark.slow
def test_every_run_starts(tmp_path: Path, photos: Path) -> None:
    """At full size."""
    networks = save_recogniser(tmp_path, LEVEL)
    for run in read_queue(QUEUE):
        start(run, tmp_path / "runs", photos, networks)
