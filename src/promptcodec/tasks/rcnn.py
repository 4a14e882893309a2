"""Faster and Mask R-CNN on a ResNet-50 with a feature pyramid, as torchvision's state dicts hold them: the paper's
detector and segmenter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.quality.pixels import Pixels
from promptcodec.tasks.boxes import suppress
from promptcodec.tasks.framing import fit_shorter
from promptcodec.tasks.recogniser import Objects, Recogniser
from promptcodec.tasks.regions import align, anchors, moved, pasted
from promptcodec.tasks.resnet import ResNetBody, normalised
from promptcodec.tasks.weight_files import WeightSource, fill, read_weights, rename

SOURCES = {
    "faster-rcnn": WeightSource(("fasterrcnn_resnet50_fpn_coco*.pth", "fasterrcnn_resnet50_fpn_coco*.safetensors")),
    "mask-rcnn": WeightSource(("maskrcnn_resnet50_fpn_coco*.pth", "maskrcnn_resnet50_fpn_coco*.safetensors")),
}
SHORTER, LONGEST = 800, 1333
CLASSES, WIDTH = 91, 256
ANCHOR_SIDES = (32, 64, 128, 256, 512)
_PROPOSALS, _PROPOSAL_OVERLAP = 1000, 0.7
_LEAST_SCORE, _MOST_OVERLAP, _MOST = 0.05, 0.5, 100
_ROI, _MASK_ROI = 7, 14
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_NAMES = (  # torchvision's files of 2019, and what newer releases write, both to ours
    (r"^backbone\.body\.", "body."), (r"^backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?:0\.)?", r"\1.\2."),
    (r"^rpn\.head\.conv\.(?:0\.0\.)?", "rpn_conv."), (r"^rpn\.head\.(cls_logits|bbox_pred)", r"rpn_\1"),
    (r"^roi_heads\.box_head\.", ""), (r"^roi_heads\.box_predictor\.", ""),
    (r"^roi_heads\.mask_head\.mask_fcn(\d)\.", r"masks.fcn\1."),
    (r"^roi_heads\.mask_predictor\.conv5_mask", "masks.up"),
    (r"^roi_heads\.mask_predictor\.mask_fcn_logits", "masks.logits"),
)  # fmt: skip
_NEWER_MASK_NAMES = tuple((rf"^roi_heads\.mask_head\.{i}\.0\.", f"masks.fcn{i + 1}.") for i in range(4))


class Rcnn(Recogniser):
    """A two-stage detector of COCO's categories; ``masks``: that segments as well.

    ``path``: torchvision's weights; None leaves random ones, for tests. Raises UsageError for files of another network.
    """

    task = "detect"

    def __init__(self, masks: bool = False, path: Path | None = None) -> None:
        super().__init__()
        self.body = ResNetBody(eps=0.0)  # with which the published weights were trained
        self.inner = nn.ModuleList(nn.Conv2d(channels, WIDTH, 1) for channels in (256, 512, 1024, 2048))
        self.layer = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(4))
        self.rpn_conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.rpn_cls_logits, self.rpn_bbox_pred = nn.Conv2d(WIDTH, 3, 1), nn.Conv2d(WIDTH, 12, 1)
        self.fc6, self.fc7 = nn.Linear(WIDTH * _ROI**2, 1024), nn.Linear(1024, 1024)
        self.cls_score, self.bbox_pred = nn.Linear(1024, CLASSES), nn.Linear(1024, 4 * CLASSES)
        self.masks = _MaskHead() if masks else None
        if path is not None:
            tensors, self.weights = read_weights(path)
            fill(self, rename(tensors, _NEWER_MASK_NAMES + _NAMES), path)
        self.eval().requires_grad_(False)

    def prepare(self, pixels: Pixels) -> Pixels:
        """Scale the shorter side to 800 pixels, or less where the longer one would pass 1333."""
        return fit_shorter(pixels, SHORTER, LONGEST, Image.Resampling.BILINEAR)

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute the five levels of the pyramid of x (B, 3, H, W) in [0, 1], which the paper's loss compares:
        (B, 256, h, w) at 1/4 to 1/64 of its sides, padded to multiples of 32.
        """
        height, width = (-n % 32 for n in x.shape[2:])
        levels = self.body(F.pad(normalised(x), (0, width, 0, height)))
        merged = self.inner[-1](levels[-1])
        pyramid = [self.layer[-1](merged)]
        for index in (2, 1, 0):
            side = self.inner[index](levels[index])
            merged = side + F.interpolate(merged, size=side.shape[2:])
            pyramid.insert(0, self.layer[index](merged))
        return [*pyramid, F.max_pool2d(pyramid[-1], 1, 2)]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Objects:
        """Detect objects in one picture, x (1, 3, H, W) in [0, 1]: at most 100, boxes in its pixels."""
        size = x.shape[2], x.shape[3]
        pyramid = self.features(x)
        proposals = self._proposals(pyramid, size, x)
        pooled = align(pyramid[:4], proposals, _ROI).flatten(1)
        hidden = F.relu(self.fc7(F.relu(self.fc6(pooled))))
        scores = self.cls_score(hidden).softmax(1)
        boxes = moved(proposals, self.bbox_pred(hidden).view(-1, CLASSES, 4), _BOX_WEIGHTS, size)
        boxes, flat = boxes[:, 1:].reshape(-1, 4), scores[:, 1:].reshape(-1)  # class 0 is the background
        classes = torch.arange(1, CLASSES).repeat(len(scores))
        likely = (flat > _LEAST_SCORE) & ((boxes[:, 2:] - boxes[:, :2]).amin(1) >= 1e-2)
        boxes, flat, classes = boxes[likely], flat[likely], classes[likely]
        kept = suppress(boxes, flat, classes, _MOST_OVERLAP, _MOST)
        boxes, flat, classes = boxes[kept], flat[kept], classes[kept]
        outlines = self._outlines(pyramid, boxes, classes, size) if self.masks is not None else ()
        return Objects(boxes.numpy(), flat.numpy(), classes.numpy(), outlines)

    def _proposals(self, pyramid: list[Tensor], size: tuple[int, int], x: Tensor) -> Tensor:
        """Return the corners of at most 1000 regions that may hold something, (n, 4)."""
        boxes, scores, levels = [], [], []
        padded = tuple(n + -n % 32 for n in size)
        for index, (level, side) in enumerate(zip(pyramid, ANCHOR_SIDES, strict=True)):
            hidden = F.relu(self.rpn_conv(level))
            likely = self.rpn_cls_logits(hidden)[0].permute(1, 2, 0).reshape(-1)
            shifts = self.rpn_bbox_pred(hidden)[0].view(3, 4, *level.shape[2:]).permute(2, 3, 0, 1).reshape(-1, 4)
            best = likely.topk(min(_PROPOSALS, len(likely))).indices
            places = anchors(side, (level.shape[2], level.shape[3]), (padded[0], padded[1])).to(x)
            boxes.append(moved(places[best], shifts[best][:, None], (1.0, 1.0, 1.0, 1.0), size)[:, 0])
            scores.append(likely[best].sigmoid())
            levels.append(torch.full_like(best, index))
        box, score, group = torch.cat(boxes), torch.cat(scores), torch.cat(levels)
        large = (box[:, 2:] - box[:, :2]).amin(1) >= 1e-3
        box, score, group = box[large], score[large], group[large]
        return box[suppress(box, score, group, _PROPOSAL_OVERLAP, _PROPOSALS)]

    def _outlines(
        self, pyramid: list[Tensor], boxes: Tensor, classes: Tensor, size: tuple[int, int]
    ) -> list[np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
        """Return a mask of the picture's size for every box."""
        assert self.masks is not None
        if not len(boxes):
            return []
        inside = self.masks(align(pyramid[:4], boxes, _MASK_ROI)).sigmoid()
        chosen = inside[torch.arange(len(boxes)), classes]
        return [pasted(mask, box, size) for mask, box in zip(chosen, boxes, strict=True)]


class _MaskHead(nn.Module):
    """From (n, 256, 14, 14) to logits of a mask a class, (n, 91, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        for index in range(1, 5):
            self.add_module(f"fcn{index}", nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
        self.up, self.logits = nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2), nn.Conv2d(WIDTH, CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, 5):
            x = F.relu(self.get_submodule(f"fcn{index}")(x))
        out: Tensor = self.logits(F.relu(self.up(x)))
        return out
