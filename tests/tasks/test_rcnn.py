"""The paper's recognisers with random weights: published sizes, torchvision's names, and geometry by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from promptcodec.errors import UsageError
from promptcodec.tasks.rcnn import Rcnn
from promptcodec.tasks.recogniser import Objects
from promptcodec.tasks.regions import align, anchors, moved, pasted
from promptcodec.tasks.registry import open_recogniser
from promptcodec.tasks.resnet import ResNet50


def count(network: nn.Module, norms: bool) -> int:
    """Count parameters; torchvision's detectors hold frozen normalisations as buffers."""
    frozen = sum(p.numel() for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    return sum(p.numel() for p in network.parameters()) - (0 if norms else frozen)


def test_published_sizes() -> None:
    assert count(ResNet50(), norms=True) == 25_557_032
    assert count(Rcnn(), norms=False) == 41_755_286
    assert count(Rcnn(masks=True), norms=False) == 44_401_393


def test_torchvision_s_resnet_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = ResNet50()
    names = {re.sub(r"^body\.", "", name): tensor for name, tensor in network.state_dict().items()}
    assert {"conv1.weight", "bn1.running_var", "layer1.0.downsample.1.weight", "layer4.2.conv3.weight", "fc.bias",
            "layer3.5.bn2.num_batches_tracked"} <= set(names)  # fmt: skip
    assert len(names) == 320
    torch.save(names, tmp_path / "resnet50-0676ba61.pth")
    loaded = open_recogniser("resnet50", tmp_path)
    x = torch.rand(1, 3, 64, 64)
    levels = loaded.features(x)
    assert [tuple(level.shape[1:]) for level in levels] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(levels, network.features(x), strict=True))
    assert loaded.prepare(np.zeros((300, 400, 3), np.uint8)).shape == (256, 256, 3)
    torch.save({k: v for k, v in names.items() if k != "layer2.0.bn1.bias"}, tmp_path / "resnet50-0676ba61.pth")
    with pytest.raises(UsageError, match=r"lacks body\.layer2\.0\.bn1\.bias"):
        open_recogniser("resnet50", tmp_path)


def torchvision_names(network: Rcnn, newer: bool) -> dict[str, Tensor]:
    """The state dict under the names of torchvision's files: those of 2019, or those that newer releases write."""
    fpn, conv, mask = (".0", ".0.0", "{}.0.") if newer else ("", "", "mask_fcn{}.")
    names = {}
    for name, tensor in network.state_dict().items():
        name = re.sub(r"^body\.", "backbone.body.", name)
        name = re.sub(r"^(inner|layer)\.(\d)\.", rf"backbone.fpn.\1_blocks.\2{fpn}.", name)
        name = re.sub(r"^rpn_conv", f"rpn.head.conv{conv}", name)
        name = re.sub(r"^rpn_(cls_logits|bbox_pred)", r"rpn.head.\1", name)
        name = re.sub(r"^(fc6|fc7)", r"roi_heads.box_head.\1", name)
        name = re.sub(r"^(cls_score|bbox_pred)", r"roi_heads.box_predictor.\1", name)
        name = re.sub(r"^masks\.up", "roi_heads.mask_predictor.conv5_mask", name)
        name = re.sub(r"^masks\.logits", "roi_heads.mask_predictor.mask_fcn_logits", name)
        if match := re.match(r"^masks\.fcn(\d)\.", name):
            name = "roi_heads.mask_head." + mask.format(int(match[1]) - (1 if newer else 0)) + name[match.end() :]
        if not name.endswith("num_batches_tracked"):  # frozen normalisations count nothing
            names[name] = tensor
    return names  # fmt: skip


@pytest.mark.parametrize("newer", [False, True])
def test_torchvision_s_detector_files(newer: bool, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Rcnn(masks=True)
    nn.init.normal_(network.cls_score.bias, std=2)  # so that something is seen in nothing
    names = torchvision_names(network, newer)
    example = "roi_heads.mask_head.3.0.weight" if newer else "backbone.fpn.inner_blocks.3.weight"
    assert example in names
    torch.save(names, tmp_path / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")
    loaded = open_recogniser("mask-rcnn", tmp_path)
    x = torch.rand(1, 3, 96, 128)
    levels = loaded.features(x)
    assert [tuple(level.shape[2:]) for level in levels] == [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    assert loaded.channels == [256] * 5
    found, again = loaded.predict(x), network.predict(x)
    assert isinstance(found, Objects)
    assert isinstance(again, Objects)
    assert 0 < len(found.boxes) == len(found.masks) <= 100
    assert np.array_equal(found.boxes, again.boxes)
    assert all(mask.shape == (96, 128) for mask in found.masks)
    assert (np.diff(found.scores) <= 0).all()
    assert set(found.categories) <= set(range(1, 91))
    with pytest.raises(UsageError, match="also has masks"):
        Rcnn(path=tmp_path / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth")  # fmt: skip


def test_anchors_and_boxes_that_move() -> None:
    places = anchors(32, (2, 3), (64, 96))
    assert places.shape == (18, 4)
    assert places[:3].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert places[3].tolist() == [9, -11, 55, 11]  # 32 pixels to the right
    assert places[9].tolist() == [-23, 21, 23, 43]
    box, size = torch.tensor([[10.0, 20, 30, 60]]), (100, 100)
    shifts = torch.tensor([[[0.0, 0, 0, 0], [1, 0, 0, 0], [0, 0, np.log(2), 0], [0, -9, 0, 0]]])
    shifted = moved(box, shifts, (1, 1, 1, 1), size)[0]
    assert shifted.tolist() == [[10, 20, 30, 60], [30, 20, 50, 60], [0, 20, 40, 60], [10, 0, 30, 0]]
    assert moved(box, shifts, (10, 10, 1, 1), size)[0, 1].tolist() == [12, 20, 32, 60]


def test_features_within_boxes() -> None:
    """On a ramp, the mean of samples that lie evenly is the ramp's value in the middle of a bin."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    pyramid = [torch.stack([x, y])[None] * 2**k for k in range(4)]
    pyramid = [level[..., : 64 >> k, : 64 >> k] for k, level in enumerate(pyramid)]
    boxes = torch.tensor([[40.0, 80, 68, 136], [8, 16, 136, 240]])
    inside = align(pyramid, boxes, 7)
    assert inside.shape == (2, 2, 7, 7)
    assert inside[0, 0, 3].tolist() == pytest.approx([10 + 0.5 + i for i in range(7)])
    assert inside[0, 1, :, 0].tolist() == pytest.approx([20 + 1 + 2 * i for i in range(7)])
    assert inside[1, 0, 0].tolist() == pytest.approx([(8 + 128 * (i + 0.5) / 7) / 4 for i in range(7)], abs=1e-4)


def test_masks_are_put_where_the_box_is() -> None:
    mask = torch.zeros(28, 28)
    mask[:, :14] = 1
    whole = pasted(mask, torch.tensor([10.0, 20, 38, 48]), (60, 80))
    rows, columns = np.nonzero(whole)
    assert rows.min() == 20
    assert rows.max() in (47, 48)
    assert columns.min() == 10
    assert columns.max() in (22, 23, 24)
    outside = pasted(torch.ones(28, 28), torch.tensor([-10.0, -10, 10, 10]), (30, 30))
    assert outside[:9, :9].all()
    assert not outside[12:].any()
