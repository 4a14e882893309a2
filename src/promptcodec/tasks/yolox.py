"""YOLOX-Nano, the smallest of Megvii's detectors without anchors (Apache-2.0), for COCO's 80 categories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.quality.pixels import Pixels
from promptcodec.tasks.boxes import suppress
from promptcodec.tasks.framing import fit_longer
from promptcodec.tasks.recogniser import Objects, Recogniser
from promptcodec.tasks.weight_files import WeightSource, fill, fold_norms, read_weights, rename

SOURCE = WeightSource(("yolox_nano_coco.safetensors", "yolox_nano.pth"))
COCO_IDS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
"""The numbers of COCO's 80 categories, by the position that detectors give them."""

SIDE = 416
STRIDES = (8, 16, 32)
_GREY = 114 / 255  # of what lies outside the picture
_LEAST_SCORE, _MOST_OVERLAP, _MOST = 0.01, 0.65, 100
_NORM_EPS = 1e-3
_OFFICIAL_NAMES = (
    (r"^backbone\.backbone\.", ""), (r"^backbone\.", ""), (r"^head\.", ""), (r"^stem\.conv\.", "stem."),
    (r"^lateral_conv0", "lat0"), (r"^reduce_conv1", "red1"), (r"^bu_conv", "bu"), (r"^C3_", ""),
    (r"\bdconv\b", "dw"), (r"\bpconv\b", "pw"), (r"\bconv([123])\b", r"c\1"), (r"\.bn\.", ".norm."),
)  # fmt: skip
"""From the names in Megvii's own yolox_nano.pth, with normalisations, to ours, without."""


class YoloxNano(Recogniser):
    """A detector. ``path``: its weights; None leaves random ones, for tests.

    Raises UsageError for files of another network.
    """

    task = "detect"

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        self.stem = _Convolution(12, 16, 3)
        self.dark2 = nn.Sequential(_Separable(16, 32, 2), _Partial(32, 32, 1))
        self.dark3 = nn.Sequential(_Separable(32, 64, 2), _Partial(64, 64, 3))
        self.dark4 = nn.Sequential(_Separable(64, 128, 2), _Partial(128, 128, 3))
        self.dark5 = nn.Sequential(_Separable(128, 256, 2), _Pyramid(256), _Partial(256, 256, 1, shortcut=False))
        self.lat0, self.p4 = _Convolution(256, 128), _Partial(256, 128, 1, shortcut=False)
        self.red1, self.p3 = _Convolution(128, 64), _Partial(128, 64, 1, shortcut=False)
        self.bu2, self.n3 = _Separable(64, 64, 2), _Partial(128, 128, 1, shortcut=False)
        self.bu1, self.n4 = _Separable(128, 128, 2), _Partial(256, 256, 1, shortcut=False)
        self.stems = nn.ModuleList(_Convolution(channels, 64) for channels in (64, 128, 256))
        self.cls_convs, self.reg_convs = (
            nn.ModuleList(nn.Sequential(_Separable(64, 64), _Separable(64, 64)) for _ in STRIDES) for _ in range(2)
        )
        self.cls_preds, self.reg_preds, self.obj_preds = (
            nn.ModuleList(nn.Conv2d(64, out, 1) for _ in STRIDES) for out in (len(COCO_IDS), 4, 1)
        )
        if path is not None:
            tensors, self.weights = read_weights(path)
            if any(name.startswith("backbone.") for name in tensors):
                tensors = fold_norms(rename(tensors, _OFFICIAL_NAMES), _NORM_EPS)
            fill(self, tensors, path)
        self.eval().requires_grad_(False)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Scale the longer side to 416 pixels; what a square lacks is added when it is looked at."""
        return fit_longer(pixels, SIDE, Image.Resampling.BILINEAR)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the three maps that the heads see of x (B, 3, H, W) in [0, 1], its sides padded to multiples of 32:
        (B, 64, h, w), (B, 128, h, w) and (B, 256, h, w), at 1/8, 1/16 and 1/32 of them.
        """
        height, width = (-n % STRIDES[-1] for n in x.shape[2:])
        x = 255 * F.pad(x.flip(1), (0, width, 0, height), value=_GREY)  # flipped: blue comes first
        x = torch.cat([x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2]], 1)
        third = self.dark3(self.dark2(self.stem(x)))
        fourth = self.dark4(third)
        coarse = self.lat0(self.dark5(fourth))
        middle = self.red1(self.p4(torch.cat([_doubled(coarse), fourth], 1)))
        fine = self.p3(torch.cat([_doubled(middle), third], 1))
        down = self.n3(torch.cat([self.bu2(fine), middle], 1))
        return [fine, down, self.n4(torch.cat([self.bu1(down), coarse], 1))]

    def predict(self, x: Tensor) -> Objects:
        """Detect objects in one picture, x (1, 3, H, W) in [0, 1]: at most 100, each with its category alone, boxes in
        pixels of x.
        """
        height, width = x.shape[2:]
        with torch.no_grad():
            square = F.pad(x, (0, max(0, SIDE - width), 0, max(0, SIDE - height)), value=_GREY)
            boxes, scores = self._boxes(square)
        likely, place = scores.max(1)
        likely_enough = likely > _LEAST_SCORE
        boxes, likely, place = boxes[likely_enough], likely[likely_enough], place[likely_enough]
        limit = boxes.new_tensor([width, height, width, height])
        kept = suppress(boxes, likely, place, _MOST_OVERLAP, _MOST)
        return Objects(
            torch.minimum(boxes[kept].clamp(min=0), limit).numpy(), likely[kept].numpy(),
            np.array(COCO_IDS, np.int64)[place[kept].numpy()],
        )  # fmt: skip

    def _boxes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return corners (n, 4) and a score a category, (n, 80), of all places."""
        boxes, scores = [], []
        for index, (level, stride) in enumerate(zip(self.features(x), STRIDES, strict=True)):
            stem = self.stems[index](level)
            region = self.reg_convs[index](stem)
            place = self.reg_preds[index](region)[0].flatten(1)  # (4, n): centre from the cell, and log of the sides
            rows, columns = level.shape[2:]
            cells = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy")).flatten(1)
            centre, sides = (place[:2] + cells) * stride, place[2:].exp() * stride
            boxes.append(torch.cat([centre - sides / 2, centre + sides / 2]).T)
            classes = self.cls_preds[index](self.cls_convs[index](stem))[0].sigmoid()
            scores.append((self.obj_preds[index](region)[0].sigmoid() * classes).flatten(1).T)
        return torch.cat(boxes), torch.cat(scores)


class _Convolution(nn.Module):
    """A convolution, its normalisation folded into it, and SiLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv(x))


class _Separable(nn.Module):
    """Depthwise 3x3, then pointwise."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.dw = _Convolution(channels, channels, 3, stride, channels)
        self.pw = _Convolution(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pw(self.dw(x))
        return out


class _Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool) -> None:
        super().__init__()
        self.c1, self.c2, self.shortcut = _Convolution(channels, channels), _Separable(channels, channels), shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c2(self.c1(x))
        return x + out if self.shortcut else out


class _Partial(nn.Module):
    """Cross-stage partial block: bottlenecks on one half of the channels, the other half passes."""

    def __init__(self, channels: int, out: int, depth: int, shortcut: bool = True) -> None:
        super().__init__()
        half = out // 2
        self.c1, self.c2, self.c3 = _Convolution(channels, half), _Convolution(channels, half), _Convolution(out, out)
        self.m = nn.Sequential(*(_Bottleneck(half, shortcut) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c3(torch.cat([self.m(self.c1(x)), self.c2(x)], 1))
        return out


class _Pyramid(nn.Module):
    """Spatial pyramid pooling: maxima over 5, 9 and 13 places, beside the places themselves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1, self.c2 = _Convolution(channels, channels // 2), _Convolution(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c1(x)
        out: Tensor = self.c2(torch.cat([x, *(F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13))], 1))
        return out


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0)
