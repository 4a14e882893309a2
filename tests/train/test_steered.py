"""Training of adapters, alone and jointly with their base, by recipes."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny
from recogniser import save_recogniser
from safetensors.torch import save_file
from typer.testing import CliRunner

import promptcodec
from promptcodec.cli.app import app
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.model.base import CompressionModel
from promptcodec.steer.adapter_file import load_adapter, save_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.store.model_file import load_model, save_model
from promptcodec.train.build import build_task, build_trainer
from promptcodec.train.loop import Trainer
from promptcodec.train.losses.table import LossInputs
from promptcodec.train.recipe import Recipe
from promptcodec.train.recipe_file import read_recipe
from promptcodec.train.results import save_results

LOOK = {"kind": "pyramid", "name": "look", "scalars": ["look"]}
REGION = {"kind": "pyramid", "name": "region", "maps": ["roi"], "decoder": False}
RATE = {"kind": "pyramid", "name": "rate", "scalars": ["rate"]}
ADAPTERS = {
    "region": {"adapter": REGION, "objective": "region"},
    "rate": {"adapter": RATE},
    "rate of a held base": {"adapter": RATE, "base_lambda": 0.01},
    "lpm": {"adapter": {"kind": "lpm"}, "base_lambda": 0.01, "fixed_lambda": 0.02},
    "transtic": {"adapter": {"kind": "transtic", "width": 4}},
    "sft": {"adapter": {"kind": "sft", "scalars": ["rate"]}},
    "beta": {"adapter": {"kind": "beta", "scalar": "rate", "hidden": 16}},
    "gain units": {"adapter": {"kind": "gain-units", "levels": 3}, "base_lambda": 0.01},
    "channels": {"adapter": {"kind": "channels"}},
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = CompressionModel(tiny())
    with torch.no_grad():  # zero_init would leave prompts nothing to act through
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.05)
    save_model(network, tmp_path / "base.safetensors", "0")
    return tmp_path / "base.safetensors"


def steered(recipe: Recipe, base: Path, **changes) -> Recipe:
    return dataclasses.replace(recipe, start=str(base), **({"train": "adapter"} | changes))


def trained(recipe: Recipe, folder: Path, steps: int = 3) -> Trainer:
    trainer = build_trainer(recipe, folder, say=lambda _: None)
    trainer.begin()
    for _ in range(steps):
        trainer.train_step()
    return trainer


@pytest.mark.parametrize("changes", ADAPTERS.values(), ids=ADAPTERS.keys())
def test_adapter_training_leaves_every_bit_of_the_base(changes, recipe, base, tmp_path) -> None:
    before = {k: v.clone() for k, v in load_model(base).network.state_dict().items()}
    trainer = trained(steered(recipe, base, **changes), tmp_path / "run", 0)
    start = {k: v.clone() for k, v in trainer.task.trained.named_parameters()}
    assert all(name.startswith("adapter.") for name in start)
    assert sum(len(group["params"]) for group in trainer.optimiser.networks.param_groups) == len(start)
    for _ in range(3):
        trainer.train_step()
    for name, value in trainer.task.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    moved = [k for k, v in trainer.task.trained.named_parameters() if not torch.equal(v, start[k])]
    assert len(moved) >= 0.75 * len(start)  # z of this base rounds to zero: its gains do nothing


def test_a_trained_adapter_encodes(recipe, base, photo, tmp_path) -> None:
    text = [
        f'data = ["{recipe.data[0]}"]', f'start = "{base}"', 'train = "adapter"', 'objective = "region"', "patch = 64",
        "batch = 4", "samples = 32", "warmup = 0", "learning_rate = 0.1", "ema = 0.0", "threads = 1",
        'precision = "float32"', "[adapter]", 'kind = "pyramid"',
        'name = "region"', 'maps = ["roi"]', "decoder = false",
    ]  # fmt: skip
    (tmp_path / "region.toml").write_text("\n".join(text))
    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["train", str(tmp_path / "region.toml"), "-o", str(run)])
    assert result.exit_code == 0, result.output
    assert not (run / "model.safetensors").exists()
    codec = promptcodec.load(base)
    data = promptcodec.encode(photo, 40, model=str(base), adapters=[run / "adapter.safetensors"], roi="10,20,64,64")
    assert np.asarray(codec.decode(data)).shape == photo.shape
    assert data != codec.encode(photo, 40)


def test_an_adapter_remembers_where_its_base_was_held(recipe, base, tmp_path) -> None:
    trainer = trained(steered(recipe, base, **ADAPTERS["gain units"]), tmp_path / "run", 1)
    trainer.train(max_seconds=0)
    (file,) = save_results(trainer, "1")
    assert load_adapter(file, load_model(base).network).base_lambda == 0.01


@pytest.mark.parametrize("objective", ["region", "look", "quality"])
def test_samples_count_as_the_recipe_says(objective, recipe, base, tmp_path) -> None:
    """With equal weights the loss is the paper's; else its rate counts 0.1 / sqrt(λ) in every sample."""
    adapter = {"region": REGION, "look": LOOK, "quality": {"kind": "sft", "maps": ["quality"]}}[objective]
    # Crops of 176: MS-SSIM takes no smaller ones.
    changes = {"adapter": adapter, "objective": objective, "patch": 64}
    if objective == "look":
        changes |= {"distortion": "ms-ssim", "patch": 176, "min_scale": 1.0}
    losses = {}
    for weights in ("equal", "sqrt-lambda"):
        whole = steered(recipe, base, **changes, sample_weights=weights)
        objective_module = build_task(whole, torch.device("cpu"), say=lambda _: None).objective
        torch.manual_seed(0)
        x, q = torch.rand(3, 3, whole.patch, whole.patch), torch.tensor([0.1, 0.5, 0.9])
        controls = Controls({"look": torch.tensor([0.0, 0.5, 1.0])}, {"roi": torch.rand(3, 1, 8, 8).repeat(1, 1, 8, 8)})
        controls = Controls(controls.scalars, controls.maps | {"quality": torch.full((3, 1, 64, 64), 0.5)})
        x_hat = (x + 0.05 * torch.randn_like(x)).clamp(0, 1)
        out = {"x_hat": x_hat, "likelihoods": {"y": torch.full((3, 24, 4, 4), 0.5)}}
        batch = LossInputs(out, x, objective_module.rate_lambda(q), controls)
        losses[weights] = objective_module._scaled_losses(batch)
        stated = objective_module.loss.compute(batch, objective_module.terms)
        if weights == "equal":
            assert torch.equal(losses[weights], stated)
    ratio = losses["sqrt-lambda"] / losses["equal"]
    root = batch.rate_lambda.sqrt()
    expected = {"region": 0.1 / root, "look": 10 * root, "quality": torch.ones(3)}[objective]
    assert torch.allclose(ratio, expected, rtol=1e-4)


@pytest.mark.parametrize(("distortion", "weight"), [("ms-ssim", 0.0), ("mse", 0.1)])
def test_only_lpips_is_steadied_by_squared_errors(distortion, weight, recipe, base, small_vgg, tmp_path) -> None:
    changes = {"train": "joint", "objective": "single", "distortion": distortion}
    if distortion == "mse":
        changes |= {"features": str(small_vgg)}
    task = build_task(steered(recipe, base, **changes), torch.device("cpu"), say=lambda _: None)
    assert task.objective.terms.stabiliser == weight


def test_joint_training_makes_a_new_base(recipe, base, tmp_path) -> None:
    old = load_model(base)
    trainer = build_trainer(steered(recipe, base, train="joint", adapter=RATE, samples=8), tmp_path / "run")
    trainer.begin()
    trainer.train()
    save_results(trainer, "1")
    new = load_model(tmp_path / "run" / "model.safetensors")
    assert new.fingerprint != old.fingerprint
    assert load_adapter(tmp_path / "run" / "adapter.safetensors", new.network).name == "rate"
    with pytest.raises(ModelMismatchError, match="train the adapter anew"):
        load_adapter(tmp_path / "run" / "adapter.safetensors", old.network)


@pytest.mark.parametrize("how", ["adapter", "joint"])
def test_a_run_goes_on_from_the_adapter_of_another(how, recipe, base, tmp_path) -> None:
    """Kao et al.'s stages: regions of ones, then random ones, from the first run's base and adapter."""
    both = RATE | {"name": "kao", "maps": ["roi"]}
    changes = {"train": how, "adapter": both, "objective": "region"}
    first = trained(steered(recipe, base, masks="ones", samples=8, **changes), tmp_path / "first", 0)
    assert (first.draw_inputs()[0]["roi"] == 1).all()
    first.train()
    save_results(first, "1")
    start = tmp_path / "first" / "model.safetensors" if how == "joint" else base
    adapter = tmp_path / "first" / "adapter.safetensors"
    recipe = steered(recipe, start, start_adapter=str(adapter), **changes)
    second = trained(recipe, tmp_path / "second", 0)
    stored = load_adapter(adapter, load_model(start).network).adapter.state_dict()
    begun = second.averaged_adapter().state_dict()
    assert all(torch.equal(value, begun[name]) for name, value in stored.items())
    fresh = trained(dataclasses.replace(recipe, start_adapter=""), tmp_path / "fresh", 0).averaged_adapter()
    assert not any(torch.equal(stored[name], value) for name, value in fresh.state_dict().items())
    for name, value in load_model(start).network.state_dict().items():
        assert torch.equal(value, second.averaged().state_dict()[name]), name
    assert any((second.draw_inputs()[0]["roi"] != 1).any() for second.step in range(4))
    with pytest.raises(UsageError, match=r'is a pyramid .*, this recipe\'s \[adapter\] a pyramid .*"maps": \[\]'):
        trained(dataclasses.replace(recipe, adapter=RATE, objective="rate-distortion"), tmp_path / "other", 0)
    torch.manual_seed(1)
    save_model(CompressionModel(tiny()), tmp_path / "other.safetensors", "0")
    with pytest.raises(ModelMismatchError, match="kao was trained on"):
        trained(dataclasses.replace(recipe, start=str(tmp_path / "other.safetensors")), tmp_path / "other", 0)


def test_full_fine_tuning_needs_no_adapter(recipe, base, tmp_path) -> None:
    trainer = trained(steered(recipe, base, train="joint"), tmp_path / "run", 2)
    assert trainer.averaged_adapter() is None
    assert not torch.equal(next(trainer.averaged().parameters()), next(load_model(base).network.parameters()))


@pytest.mark.parametrize("how", ["adapter", "joint"])
def test_a_run_cut_in_two_equals_one_that_was_not(how, recipe, base, tmp_path) -> None:
    recipe = steered(recipe, base, train=how, adapter=REGION, objective="region")
    whole = trained(recipe, tmp_path / "whole", 5)
    trained(recipe, tmp_path / "parts", 3).train(max_seconds=0)
    second = build_trainer(recipe, tmp_path / "parts", say=lambda _: None)
    assert "continuing at 12 samples" in second.begin()
    for _ in range(2):
        second.train_step()
    one, other = whole.state(), second.state()
    for key in ("model", "average"):
        assert one[key].keys() == other[key].keys()
        for name, value in one[key].items():
            assert torch.equal(value, other[key][name]), name


def test_channel_selection_learns_its_transform(recipe, base, tmp_path) -> None:
    """A recogniser of three levels, at 1, 1/2 and 1/4: the transform from ŷ learns the last one."""
    torch.manual_seed(0)
    sizes = {0: (4, 3), 3: (5, 4), 6: (6, 5)}
    network = {f"features.{i}.weight": torch.randn(*size, 3, 3) for i, size in sizes.items()}
    save_file(network | {f"features.{i}.bias": torch.zeros(size[0]) for i, size in sizes.items()}, tmp_path / "net")
    changes = {"features": str(tmp_path / "net"), "objective": "machine"}
    select = {"kind": "channels", "features": 6}
    trainer = trained(steered(recipe, base, adapter=select, **changes), tmp_path / "run", 0)
    start = {k: v.clone() for k, v in trainer.task.trained.named_parameters()}
    trainer.train_step()
    assert all(not torch.equal(v, start[k]) for k, v in trainer.task.trained.named_parameters() if "transform" in k)
    with pytest.raises(UsageError, match=r"gives 7 features, the recogniser's levels have \[4, 5, 6\]"):
        build_trainer(steered(recipe, base, adapter=select | {"features": 7}, **changes), tmp_path / "other")


def test_features_are_balanced_once_and_kept(recipe, base, tmp_path) -> None:
    """The constants are measured by the run that starts, kept by its checkpoint, and stored with the adapter."""
    network = save_recogniser(tmp_path, 6)["features"]
    changes = steered(recipe, base, adapter=RATE, objective="machine", features=network)
    first = trained(changes, tmp_path / "run", 1)
    balance = first.task.trained.balance
    assert len(balance.scales) == 3
    assert all(scale != 1 for scale in balance.scales)
    first.train(max_seconds=0)
    second = build_trainer(changes, tmp_path / "run", say=lambda _: None)
    assert second.task.trained.balance.weight == 1
    second.begin()
    assert torch.equal(second.task.trained.balance.scales, balance.scales)
    assert second.task.trained.balance.weight == balance.weight != 1
    save_results(second, "0")
    notes = load_adapter(tmp_path / "run" / "adapter.safetensors", second.averaged()).training
    assert notes["feature_scales"] == pytest.approx(balance.scales.tolist(), abs=1e-5)
    assert notes["recogniser"] == "features.safetensors"
    assert notes["weights"] == hashlib.sha256(Path(network).read_bytes()).hexdigest()[:16]
    assert notes["machine_weight"] == pytest.approx(float(balance.weight), rel=1e-3)
    file = tmp_path / "run" / "adapter.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"{\\"feature_scales', b'"[\\"feature_scales'))
    with pytest.raises(ModelMismatchError, match="notes on training"):
        load_adapter(file, second.averaged())
    before = first.state()
    before["model"] = {name: value for name, value in before["model"].items() if not name.startswith("balance.")}
    with pytest.raises(UsageError, match="begun before features were scaled: start afresh"):
        second.restore(before)
    stated = dataclasses.replace(changes, machine_weight=46.0, feature_scale="none")
    third = trained(stated, tmp_path / "third", 1).task.trained.balance
    assert (float(third.weight), third.scales.tolist()) == (46, [1, 1, 1])
    # On this base, the features' error counts as much as the squared error with which it was trained.
    pictures, q = second.data.first_crops(16), torch.linspace(0, 1, 16)
    x_hat = load_model(base).network(pictures, q)["x_hat"].clamp(0, 1)
    squared = 255**2 * (x_hat - pictures).square().flatten(1).mean(1)
    features = balance.weight * balance.distance(second.task.objective.terms.recogniser, x_hat, pictures)
    assert (features / squared).log().mean().abs() < 0.7


def test_machine_weight_is_a_number_or_measured() -> None:
    assert read_recipe({"machine_weight": 46}, "r").machine_weight == 46.0
    assert read_recipe({}, "r").machine_weight == "auto"
    with pytest.raises(UsageError, match=r"machine_weight is \[1\], expected a number or auto"):
        read_recipe({"machine_weight": [1]}, "r")
    for value in ("much", -1, True, [1.0]):
        with pytest.raises(UsageError, match="machine_weight is"):
            read_recipe({"machine_weight": value}, "r")


def test_a_run_on_another_base_is_refused(recipe, base, tmp_path) -> None:
    trained(steered(recipe, base, adapter=REGION), tmp_path / "run", 1).train(max_seconds=0)
    torch.manual_seed(1)
    save_model(CompressionModel(tiny()), tmp_path / "other.safetensors", "0")
    with pytest.raises(UsageError, match="trained on another base"):
        build_trainer(steered(recipe, tmp_path / "other.safetensors", adapter=REGION), tmp_path / "run").begin()


def test_co_adapters_are_attached_at_random(recipe, base, tmp_path) -> None:
    first = build_trainer(steered(recipe, base, adapter=REGION, objective="region", samples=4), tmp_path / "first")
    first.begin()
    first.train()
    path = tmp_path / "region.safetensors"
    save_adapter(first.averaged_adapter(), first.averaged(), path)
    second = trained(steered(recipe, base, adapter=RATE, co_adapters=(str(path),)), tmp_path / "second", 0)
    chosen = set()
    for second.step in range(12):
        controls, co_adapters = second.draw_inputs()
        chosen.add(tuple(co_adapters))
        assert controls["roi"].shape == (4, 1, 64, 64)
    assert chosen == {(), (0,)}
    second.train_step()


def test_a_neutral_start_is_nearly_the_base(recipe, base, tmp_path) -> None:
    x, q = torch.rand(2, 3, 64, 64), torch.tensor([0.2, 0.8])
    network = load_model(base).network
    plain = network(x, q)["x_hat"]
    for name in ("rate", "sft", "beta", "transtic", "lpm"):
        trainer = trained(steered(recipe, base, **ADAPTERS[name]), tmp_path / name, 0)
        attached = Attached(network.config, [trainer.task.trained.adapter.eval()], Controls({"rate": q}))
        assert (network(x, q, None, attached)["x_hat"] - plain).abs().mean() < 0.02, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": "adapter"}, "give a table"),
        ({"adapter": {"kind": "lpm"}}, 'for train = "adapter" or "joint"'),
        ({"train": "joint", "rates": [0.5, 0.2]}, "two ends in 0..1"),
        ({"train": "both"}, "expected one of model, adapter, joint"),
        ({"masks": "ones"}, 'masks is for train = "adapter" or "joint"'),
        ({"train": "joint", "masks": "zeros"}, "expected one of random, ones"),
        ({"train": "joint", "start_adapter": "x", "adapter": {"kind": "lpm"}}, "start_adapter wants its base"),
    ],
)
def test_recipes_that_make_no_sense(changes, message) -> None:
    with pytest.raises(UsageError, match=message):
        read_recipe(changes, "recipe x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adapter": {"kind": "step"}}, "nothing to train"),
        ({"adapter": {"kind": "lpm", "rank": 4}}, "cannot be made with"),
        ({"adapter": {"kind": "lora"}}, "unknown kind of adapter"),
        ({"adapter": REGION, "objective": "look", "distortion": "ms-ssim"}, "takes the scalar look"),
        ({"adapter": LOOK, "objective": "look"}, "wants a metric"),
        ({"adapter": LOOK, "distortion": "ms-ssim"}, "knows no MS-SSIM"),
        ({"adapter": LOOK, "objective": "machine"}, "wants a frozen recogniser"),
        ({"adapter": REGION, "base_lambda": 0.01}, "wants fixed_lambda, or an adapter"),
        ({"adapter": REGION, "fixed_lambda": 0.01}, "needs base_lambda"),
        ({"adapter": RATE, "base_lambda": 7.0}, "one of tiny's trade-offs"),
        ({"adapter": RATE, "masks": "ones"}, "adapters that take a map"),
    ],
)
def test_runs_that_make_no_sense(changes, message, recipe, base, tmp_path) -> None:
    with pytest.raises(UsageError, match=message):
        build_trainer(steered(recipe, base, **changes), tmp_path / "run", say=lambda _: None)


def test_features_of_a_recogniser_by_name(recipe, base, tmp_path) -> None:
    example = Path(__file__).parents[2] / "examples" / "own_recogniser.py"
    changes = {"adapter": RATE, "objective": "machine", "features": f"{example}:TwoScales"}
    trainer = trained(steered(recipe, base, **changes), tmp_path / "run", 2)
    notes = trainer.task.notes()
    assert (notes["recogniser"], len(notes["feature_scales"])) == ("own_recogniser:TwoScales", 2)
    assert not any("fine" in name for name in trainer.state()["model"])  # the recogniser is no part of what is kept
    with pytest.raises(UsageError, match="has no class Nothing"):
        build_trainer(steered(recipe, base, **changes | {"features": f"{example}:Nothing"}), tmp_path / "other")
