"""LPIPS: against a second implementation with its own constants, the authors' example, and files of something else."""

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from promptcodec.errors import ImageError, UsageError
from promptcodec.quality.lpips import FeatureDistance, Lpips
from promptcodec.quality.networks import BACKBONES, LPIPS_HEADS, FeatureNetwork


@pytest.fixture(scope="module")
def examples(networks):
    """The authors' pictures: a reference and two distorted ones."""
    files = (networks / "examples" / f"lpips-ex_{name}.png" for name in ("ref", "p0", "p1"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def planes(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_values_and_gradients_are_those_of_a_second_implementation(networks, examples, backbone):
    """Its input is -1 to 1, normalised by the constants that LPIPS was published with."""
    definition = importlib.util.spec_from_file_location("nets", networks / "nets.py")
    nets = importlib.util.module_from_spec(definition)
    definition.loader.exec_module(nets)
    theirs = nets.Lpips(backbone).eval().requires_grad_(False)
    ours = FeatureDistance(networks / BACKBONES[backbone], networks / LPIPS_HEADS)
    x, y = planes(examples[0]), planes(examples[1])
    gradients = []
    for distance in (ours, lambda x, y: theirs(2 * x - 1, 2 * y - 1)):
        moved = y.clone().requires_grad_()
        value = distance(x, moved)
        value.sum().backward()
        gradients.append((value.detach(), moved.grad))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients[0][1], gradients[1][1], atol=1e-7, rtol=1e-2)


def test_the_example_of_the_authors(networks, examples):
    reference, first, second = examples
    lpips = Lpips("alex", networks)
    assert lpips(reference, first) == pytest.approx(0.722, abs=5e-4)
    assert lpips(reference, second) == pytest.approx(0.138, abs=5e-4)
    assert lpips(first, first) == 0  # the features of the last reference do not stay
    with pytest.raises(ImageError, match="shape"):
        lpips(reference, first[1:])


def test_features_refuse_other_files(small_vgg, tmp_path):
    distance = FeatureDistance(small_vgg)
    assert distance.network.taps == [2, 5]
    x = torch.rand(2, 3, 32, 32)
    assert distance(x, x).max() == 0
    assert distance(x, 1 - x).min() > 0
    save_file({"vgg.lin0": torch.ones(1, 5, 1, 1)}, tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match=r"no head vgg.lin0 over 4 channels"):
        FeatureDistance(small_vgg, tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match="no chain of convolutions"):
        FeatureDistance(tmp_path / "heads.safetensors")
    with pytest.raises(UsageError, match="cannot be read"):
        FeatureNetwork(tmp_path / "missing.safetensors")
