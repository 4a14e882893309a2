"""Distortions: MS-SSIM and features against independent implementations, and training with them."""

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from promptcodec.errors import UsageError
from promptcodec.train.build import build_trainer
from promptcodec.train.losses.distortion import MS_SSIM_LAMBDAS, Distortion
from promptcodec.train.losses.features import FeatureDistance
from promptcodec.train.losses.ms_ssim import ms_ssim
from promptcodec.train.recipe import Recipe


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A small VGG with two poolings."""
    torch.manual_seed(0)
    tensors = {}
    for place, (inner, outer) in {0: (3, 4), 2: (4, 4), 5: (4, 8)}.items():
        tensors[f"features.{place}.weight"] = torch.randn(outer, inner, 3, 3).half()
        tensors[f"features.{place}.bias"] = torch.randn(outer).half()
    save_file(tensors, tmp_path / "vgg.safetensors")
    return tmp_path / "vgg.safetensors"


@pytest.mark.parametrize("size", [(176, 192), (177, 203)])
def test_ms_ssim_is_the_usual_one(size: tuple[int, int]) -> None:
    library = pytest.importorskip("pytorch_msssim")
    torch.manual_seed(0)
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 20, 20), size, mode="bicubic").clamp(0, 1)
    y = (x + 0.05 * torch.randn(x.shape)).clamp(0, 1)
    expected = library.ms_ssim(x, y, data_range=1.0, size_average=False)
    torch.testing.assert_close(ms_ssim(x, y), expected, atol=1e-5, rtol=0)
    assert ms_ssim(x, x).min() > 0.99999
    with pytest.raises(UsageError, match="more than 160 pixels"):
        ms_ssim(x[..., :160], y[..., :160])


def test_lpips_of_the_authors_pairs(shared: Path) -> None:
    """The example of the LPIPS repository: 0.722 and 0.138."""
    from promptcodec.train.data.pictures import decode

    folder = shared / "data" / "networks"
    lpips = FeatureDistance(
        folder / "alexnet_features_torchvision.safetensors", folder / "lpips_v0.1_heads.safetensors"
    )
    names = ("ref", "p0", "p1")
    files = [next(folder.glob(f"examples/*{name}*.png")) for name in names]
    pictures = [torch.tensor(decode(file.read_bytes())).permute(2, 0, 1)[None].float() / 255 for file in files]
    assert lpips(pictures[0], pictures[1]).item() == pytest.approx(0.722, abs=2e-3)
    assert lpips(pictures[0], pictures[2]).item() == pytest.approx(0.138, abs=2e-3)


def test_features_refuse_other_files(network: Path, tmp_path: Path) -> None:
    distance = FeatureDistance(network)
    assert distance.network.taps == [2, 5]
    x = torch.rand(2, 3, 32, 32)
    assert distance(x, x).max() == 0
    assert distance(x, 1 - x).min() > 0
    save_file({"vgg.lin0": torch.ones(1, 5, 1, 1)}, tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match=r"no head vgg.lin0 over 4 channels"):
        FeatureDistance(network, tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match="no chain of convolutions"):
        FeatureDistance(tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match="cannot be read"):
        FeatureDistance(tmp_path / "missing.safetensors")


def test_the_rate_is_that_of_the_metric() -> None:
    mse_lambda = torch.tensor([0.002, 0.01, 0.05])
    assert torch.equal(Distortion("mse").rate_lambda(mse_lambda, (0.002, 0.05)), mse_lambda)
    expected = torch.tensor(
        [MS_SSIM_LAMBDAS[0], (MS_SSIM_LAMBDAS[0] * MS_SSIM_LAMBDAS[-1]) ** 0.5, MS_SSIM_LAMBDAS[-1]]
    )
    torch.testing.assert_close(Distortion("ms-ssim").rate_lambda(mse_lambda, (0.002, 0.05)), expected)


def test_a_weighted_sum_trains(recipe: Recipe, network: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe, features=str(network), feature_weight=250.0)
    trainer = build_trainer(recipe, tmp_path / "run")
    trainer.begin()
    trainer.train_step()
    assert not any("features" in name for name in trainer.state()["model"])
    plain = build_trainer(dataclasses.replace(recipe, features="", feature_weight=0.0), tmp_path / "plain")
    plain.begin()
    plain.train_step()
    assert trainer.meter.read(trainer.world)["loss"] > plain.meter.read(plain.world)["loss"]


def test_ms_ssim_trains(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from conftest import tiny

    from promptcodec.model.presets import registry as presets

    big = tmp_path / "big"
    big.mkdir()
    from PIL import Image

    Image.effect_noise((200, 180), 60).convert("RGB").save(big / "a.png")
    monkeypatch.setitem(presets.PRESETS, "tiny-fixed", lambda: dataclasses.replace(tiny(), gain=None))
    changes = {"model": "tiny-fixed", "data": (str(big),), "patch": 168, "batch": 2}
    recipe = dataclasses.replace(recipe, **changes, distortion="ms-ssim", fixed_lambda=16.0)
    trainer = build_trainer(recipe, tmp_path / "run")
    trainer.begin()
    trainer.train_step()
    assert trainer.meter.read(trainer.world)["loss"] > 0
