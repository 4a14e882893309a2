"""Every kind of adapter on backbones of every kind, in float32 and bfloat16: a step of training, and a file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from narrow import narrow
from pictures import make_photo
from recogniser import save_recogniser
from torch import nn
from with_adapters import WithAdapters

from promptcodec.api import codec_of
from promptcodec.codec.codec import Codec
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.inference.precision import Precision
from promptcodec.model.presets.registry import CONFIGURATIONS
from promptcodec.model.steering import TransformName
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.kinds import BUILT_IN, PARAMETER_FREE
from promptcodec.steer.sites import has_ngram_context, stages_with_tokens
from promptcodec.store.model_file import load_model, save_model
from promptcodec.train.build import build_trainer
from promptcodec.train.loop import Trainer
from promptcodec.train.recipe import Recipe

BASES = [name for name in ("tic", "nano", "small", "ngram", "s2c-hybrid-s") if name in CONFIGURATIONS]
QUICK = ("tic", "nano")  # tried every time; of the others, what is theirs alone
SIDE = 64
LARGER = 80  # of pictures for song, which mirrors maps
LAMBDA = 0.0067

Changes = dict[str, Any]
Method = Callable[[config.Model], Changes]
LOOK = {"kind": "pyramid", "name": "look", "scalars": ["look"]}
BOTH = {"kind": "pyramid", "name": "kao", "scalars": ["rate"], "maps": ["roi"]}
TRANSTIC = {"kind": "transtic", "width": 4}


def last(base: config.Model, transform: TransformName) -> int:
    """The last stage that takes prompts."""
    return stages_with_tokens(base, transform, None)[-1].index


def in_last_stages(base: config.Model, **options: Any) -> Changes:
    """TransTIC in the last stages alone."""
    stages = {"encoder_stages": [last(base, "g_a")], "decoder_stages": [last(base, "g_s")]}
    return {"adapter": TRANSTIC | stages | options}


def carried(base: config.Model) -> Changes:
    return in_last_stages(base, encoder_carry=[last(base, "g_a")], decoder_carry=[last(base, "g_s")])


METHODS: dict[str, Method] = {
    "look": lambda _: {"adapter": LOOK, "objective": "look", "features": True},
    "region": lambda _: {"adapter": BOTH | {"name": "region", "scalars": []}, "objective": "relative-region"},
    "rate and region": lambda _: {"adapter": BOTH, "objective": "region"},
    "masked context": lambda _: {"adapter": BOTH | {"context_in": "roi"}, "objective": "region"},
    "lpm": lambda _: {"adapter": {"kind": "lpm"}},
    "transtic": lambda _: {"adapter": TRANSTIC, "objective": "machine", "features": True},
    "transtic in the last stages": in_last_stages,
    "transtic, carried": carried,
    "transtic, tokens": lambda base: in_last_stages(base, encoder="tokens"),
    "transtic from features": lambda base: in_last_stages(base, encoder="pooled", decoder="generated"),
    "sft": lambda _: {"adapter": {"kind": "sft", "scalars": ["rate"], "maps": ["roi"]}, "objective": "region"},
    "sft, single": lambda _: {"adapter": {"kind": "sft", "residual": False}, "objective": "machine", "features": True},
    "beta": lambda _: {"adapter": {"kind": "beta", "scalar": "rate", "hidden": 16}},
    "gain-units": lambda _: {"adapter": {"kind": "gain-units", "levels": 3}},
    "region-gains": lambda _: {"adapter": {"kind": "region-gains"}, "objective": "relative-region"},
    "quality map": lambda _: {"adapter": {"kind": "quality-map", "condition": 8, "hidden": 8}, "objective": "quality"},
    "channels": lambda _: {"adapter": {"kind": "channels", "features": 12}, "objective": "machine", "features": True},
}


def cases() -> list[Any]:
    """(base, method), those of large backbones marked slow where smaller ones show as much."""
    found = []
    for base in BASES:
        model = CONFIGURATIONS[base]()
        for method in METHODS:
            if method == "quality map":  # of song alone
                continue
            if method == "masked context" and not has_ngram_context(model.analysis):
                continue
            if method == "transtic from features" and last(model, "g_s") == 0:
                continue
            quick = base in QUICK or method in ("masked context", "lpm")
            found.append(pytest.param(base, method, id=f"{base}, {method}", marks=() if quick else pytest.mark.slow))
    return [*found, pytest.param("song", "quality map", id="song, quality map")]


class Bases:
    """Files of narrow models with random weights, by the names of their configurations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._codecs: dict[tuple[str, Precision], Codec] = {}

    def codec(self, name: str, precision: Precision) -> Codec:
        if (name, precision) not in self._codecs:
            self._codecs[name, precision] = codec_of(load_model(self.file(name)), precision=precision)
        return self._codecs[name, precision]

    def file(self, name: str) -> Path:
        path = self.folder / f"{name}.safetensors"
        if path.is_file():
            return path
        torch.manual_seed(0)
        network = CompressionModel(narrow(CONFIGURATIONS[name]()))
        with torch.no_grad():
            for parameter in network.parameters():  # zero_init would leave steering nothing to act through
                if not parameter.any():
                    parameter.normal_(0, 0.05)
            [m for m in network.g_a.modules() if isinstance(m, nn.Conv2d)][-1].weight.mul_(20)  # or y rounds to zero
        save_model(network, path, "0")
        return path


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    return Bases(tmp_path_factory.mktemp("bases"))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return save_recogniser(tmp_path_factory.mktemp("networks"), 12)


def make_recipe(recipe: Recipe, start: Path, model: config.Model, changes: Changes, features: str) -> Recipe:
    """``recipe`` for an adapter as one of the ``METHODS`` gives it, on the base in the file ``start``."""
    objective = changes.get("objective", "rate-distortion")
    return dataclasses.replace(
        recipe, train="adapter", start=str(start), adapter=changes["adapter"], objective=objective, batch=2,
        patch=LARGER if model.name == "song" else SIDE, fixed_lambda=0.0 if model.gain else LAMBDA,
        neutral_start=False, features=features if changes.get("features") else "",
    )  # fmt: skip


def train_a_step(recipe: Recipe, folder: Path) -> tuple[Trainer, float]:
    """A trainer after one step, and its loss."""
    trainer = build_trainer(recipe, folder, say=lambda _: None)
    trainer.begin()
    start = {name: value.clone() for name, value in trainer.task.trained.named_parameters()}
    trainer.train_step()
    for name, value in trainer.task.trained.named_parameters():
        assert value.dtype == torch.float32
        assert value.isfinite().all(), name
    moved = [name for name, value in trainer.task.trained.named_parameters() if not torch.equal(value, start[name])]
    assert len(moved) >= 0.5 * len(start)
    return trainer, trainer.meter.read(trainer.world)["loss"]


def test_every_kind_of_adapter_is_tried() -> None:
    tried = {METHODS[method](CONFIGURATIONS["tic"]())["adapter"]["kind"] for method in METHODS}
    assert tried == set(BUILT_IN) - set(PARAMETER_FREE)


@pytest.mark.parametrize(("name", "method"), cases())
def test_a_step_of_training_and_a_file(name, method, recipe, bases, networks, tmp_path) -> None:
    plain, rounding = (bases.codec(name, precision) for precision in ("float32", "bfloat16"))
    base = plain.backend.network.config
    recipe = make_recipe(recipe, bases.file(name), base, METHODS[method](base), networks["features"])
    _, loss = train_a_step(recipe, tmp_path / "float32")
    trainer, rounded = train_a_step(dataclasses.replace(recipe, precision="bfloat16"), tmp_path / "bfloat16")
    assert rounded == pytest.approx(loss, rel=0.02)
    adapter, path = trainer.task.trained.adapter, tmp_path / "adapter.safetensors"
    save_adapter(adapter, plain.backend.network, path)
    coders = [WithAdapters(codec, [path]) for codec in (plain, rounding)]
    settings, maps = dict.fromkeys(adapter.takes, 0.7), dict.fromkeys(adapter.maps, "8,8,40,40")
    data = coders[1].encode(make_photo(recipe.patch, recipe.patch + 9), settings=settings, maps=maps)
    pictures = [coder.decode_picture(data).rgb.astype(int) for coder in coders]
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 1
