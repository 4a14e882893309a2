"""ResNet-50 as torchvision's state dicts hold it: the paper's classifier, and the backbone of its detectors."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.quality.networks import MEAN, STD
from promptcodec.quality.pixels import Pixels
from promptcodec.tasks.framing import centre_crop
from promptcodec.tasks.recogniser import Classes, Recogniser
from promptcodec.tasks.weight_files import WeightSource, fill, read_weights, rename

SOURCE = WeightSource(("resnet50-*.pth", "resnet50*.safetensors"))
DEPTHS, EXPANSION = (3, 4, 6, 3), 4
SIDE = 256  # as in paper 002, not the 224 that the network was trained on


class ResNetBody(nn.Module):
    """The convolutions: four levels, at 1/4 to 1/32, of 256 to 2048 channels.

    ``eps``: what the normalisations add to variances.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for index, depth in enumerate(DEPTHS):
            width, stride = 64 * 2**index, 1 if index == 0 else 2
            blocks = [_Bottleneck(channels, width, stride)]
            channels = width * EXPANSION
            blocks += [_Bottleneck(channels, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{index + 1}", nn.Sequential(*blocks))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = eps

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the levels of x (B, 3, H, W), normalised."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        levels = []
        for index in range(len(DEPTHS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
            levels.append(x)
        return levels


class ResNet50(Recogniser):
    """A classifier of ImageNet's 1000 classes. ``path``: torchvision's weights; None leaves random ones, for tests.

    Raises UsageError for files of another network.
    """

    task = "classify"

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.body, self.fc = ResNetBody(), nn.Linear(512 * EXPANSION, 1000)
        if path is not None:
            tensors, self.weights = read_weights(path)
            fill(self, rename(tensors, ((r"^(?!fc\.)", "body."),)), path)
        self.eval().requires_grad_(False)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Scale the shorter side to 256, and cut a square out of the middle, as the paper does."""
        return centre_crop(pixels, SIDE, SIDE, Image.Resampling.BILINEAR)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the outputs of the four stages, which the paper's loss compares, of x (B, 3, H, W) in [0, 1]:
        (B, 256, h, w) at 1/4 to (B, 2048, h, w) at 1/32 of its sides.
        """
        return self.body(normalised(x))  # type: ignore[no-any-return]

    def predict(self, x: Tensor) -> Classes:
        """Return the five likeliest classes of one picture, x (1, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            probabilities, ranking = self.fc(self.features(x)[-1].mean((2, 3))).softmax(1)[0].topk(5)
        return Classes(tuple(ranking.tolist()), tuple(probabilities.tolist()))


def normalised(x: Tensor) -> Tensor:
    """Bring (B, 3, H, W) in [0, 1] to the mean and spread of ImageNet."""
    mean, spread = (x.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (x - mean) / spread


class _Bottleneck(nn.Module):
    """1x1, 3x3 with the stride, 1x1 to four times the width, each normalised; named as torchvision names them."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        return F.relu(self.bn3(self.conv3(inner)) + shortcut)
