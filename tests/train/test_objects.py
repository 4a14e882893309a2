"""Objects of annotated pictures, as the masks that crops are trained with."""

import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny
from PIL import Image, ImageDraw

from promptcodec.model.base import CompressionModel
from promptcodec.store.model_file import save_model
from promptcodec.train.build import build_trainer
from promptcodec.train.data.control_sampler import ControlSampler
from promptcodec.train.data.crops import CropSampler
from promptcodec.train.data.objects import ObjectReader
from promptcodec.train.data.pictures import PictureStore
from promptcodec.train.loop import Trainer

CPU = torch.device("cpu")
OBJECTS = [
    [[10.0, 8.5, 60.2, 12, 50, 70.9, 14, 60]],
    [[90, 20, 140, 20, 140, 50, 90, 50], [100, 80, 120.5, 70, 130, 110]],  # one object in two pieces
    {"size": [120, 160], "counts": [0, 120 * 160]},  # a crowd
    [[1, 2, 3, 4]],  # a line
]


def annotations(name: str = "a.png", width: int = 160, height: int = 120) -> str:
    """Of a picture with OBJECTS, and one without any."""
    images = [{"id": 7, "file_name": name, "width": width, "height": height},
              {"id": 8, "file_name": "empty.png", "width": 160, "height": 120}]  # fmt: skip
    found = [{"id": i, "image_id": 7, "segmentation": shape} for i, shape in enumerate(OBJECTS)]
    return json.dumps({"images": images, "annotations": found, "categories": [{"id": 1, "name": "thing"}]})


def painted(size: tuple[int, int] = (160, 120)) -> Image.Image:
    """White where an object of OBJECTS is."""
    picture = Image.new("RGB", (160, 120))
    for pieces in OBJECTS[:2]:
        for points in pieces:
            ImageDraw.Draw(picture).polygon(points, fill="white", outline="white")
    return picture.resize(size, Image.Resampling.BILINEAR)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "annotated"
    found.mkdir()
    painted().save(found / "a.png")
    (found / "instances.json").write_text(annotations())
    return found


def reader(source: Path, patch: int = 48, said: list[str] | None = None, transposed: float = 0.0) -> ObjectReader:
    store = PictureStore([source], 1, CPU)
    store.fill()
    return ObjectReader(
        CropSampler(store, patch, 0.5, 0, transposed=transposed), (said if said is not None else []).append
    )


def covered(found: ObjectReader, step: int, size: int) -> torch.Tensor:
    """1 in any object, (size, patch, patch)."""
    nothing = torch.zeros(found.sampler.patch, found.sampler.patch)
    return torch.stack([sum(objects, nothing).clamp(max=1) for objects in found.of_batch(step, size)])


@pytest.mark.parametrize("transposed", [0.0, 0.5])
def test_masks_lie_where_the_objects_are(folder: Path, transposed: float) -> None:
    """Cut, downscaled, flipped and transposed like the picture: at full scale to the pixel, else but for its edges."""
    found = reader(folder, transposed=transposed)
    sides = torch.tensor([cut.side for cut in found.sampler.cuts(0, 64)])
    crops, masks = found.sampler.batch(0, 64)[:, 0], covered(found, 0, 64)
    full = sides == 48
    assert 24 <= full.sum() <= 40
    assert torch.equal(crops[full], masks[full])
    assert ((crops - masks).abs().mean(dim=(1, 2)) < 0.04).all()
    assert 0.1 < masks.mean() < 0.6
    half = found.of_batch(0, 64, 1, 2)
    assert torch.equal(torch.stack(list(half[3])), torch.stack(list(found.of_batch(0, 64)[7])))


def test_masks_of_single_objects(folder: Path) -> None:
    whole = next(objects for objects in reader(folder, 120).of_batch(0, 64) if len(list(objects)) == 2)
    masks = list(whole)
    assert all(mask.shape == (120, 120) and set(mask.unique().tolist()) <= {0.0, 1.0} for mask in masks)
    assert len(list(whole)) == 2  # again, for a second map


def test_resized_pictures_keep_their_objects(folder: Path) -> None:
    painted((80, 60)).save(folder / "a.png")
    found = reader(folder, 40)
    crops, masks = found.sampler.batch(0, 32)[:, 0], covered(found, 0, 32)
    assert ((crops - masks).abs().mean(dim=(1, 2)) < 0.08).all()
    assert masks.mean() > 0.1


def test_where_annotations_are_looked_for(folder: Path, tmp_path: Path) -> None:
    """In the pictures' folder or shard, beside the shard, or where COCO has them; told by the picture's name."""
    expected = covered(reader(folder), 3, 8)
    (tmp_path / "shard").mkdir()
    with tarfile.open(tmp_path / "shard" / "x.tar", "w") as tar:
        tar.add(folder, "coco")
    assert torch.equal(covered(reader(tmp_path / "shard"), 3, 8), expected)
    with tarfile.open(tmp_path / "shard" / "x.tar", "w") as tar:
        tar.add(folder / "a.png", "b/a.png")
    assert reader(tmp_path / "shard").of_batch(3, 8) == [None] * 8
    (tmp_path / "annotations").mkdir()
    (folder / "instances.json").rename(tmp_path / "annotations" / "instances_annotated.json")
    assert torch.equal(covered(reader(folder), 3, 8), expected)
    (tmp_path / "annotations" / "instances_annotated.json").rename(tmp_path / "shard" / "instances.json")
    assert torch.equal(covered(reader(tmp_path / "shard"), 3, 8), expected)
    (folder / "a.png").rename(folder / "other.png")
    assert reader(folder).of_batch(3, 8) == [None] * 8
    (folder / "other.png").rename(folder / "empty.png")
    (folder / "instances.json").write_text(annotations())
    assert [list(objects) for objects in reader(folder).of_batch(3, 8)] == [[]] * 8


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '{"images": []}', '{"images": 3, "annotations": []}', annotations(width=0),
        *(annotations().replace("10.0, ", instead) for instead in ("NaN, ", '"ten", ', "")),
        annotations().replace("[[1, 2, 3, 4]]", "[3]"), annotations().replace('"image_id": 7', '"image_id": []'),
        "[" * 100_000,
    ],
)  # fmt: skip
def test_annotations_that_are_none_are_said_once(folder: Path, text: str) -> None:
    (folder / "instances.json").write_text(text)
    found = reader(folder, said=(said := []))
    assert found.of_batch(0, 4) == found.of_batch(1, 4) == [None] * 4
    assert len(said) == 1 and said[0].startswith("left out: objects of pictures in")


def test_regions_are_made_of_objects(folder: Path) -> None:
    """Three in ten, at a level of its own an object; other regions are what they are without objects."""
    found, size = reader(folder, 64), 200
    controls = ControlSampler([], ["roi"], 64, size, 1)
    objects = found.of_batch(0, size)
    regions = controls.part(0, 0, 1, CPU, objects)["roi"]
    plain = controls.part(0, 0, 1, CPU)["roi"]
    other = [i for i in range(size) if not torch.equal(regions[i], plain[i])]
    assert 0.2 * size < len(other) < 0.4 * size
    for i in other:
        masks = list(objects[i])
        assert not (regions[i, 0] * (1 - sum(masks, torch.zeros(64, 64)).clamp(max=1))).any()
        assert len(regions[i].unique()) <= 1 + len(masks)
    assert max(len(regions[i].unique()) for i in other) == 3
    own = controls.part(0, 1, 4, CPU, found.of_batch(0, size, 1, 4))["roi"]
    assert torch.equal(own, regions[1::4])


def test_a_run_cut_in_two_sees_the_same_objects(folder: Path, recipe, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_model(CompressionModel(tiny()), tmp_path / "base.safetensors", "0")
    adapter = {"kind": "pyramid", "maps": ["roi"], "decoder": False}
    recipe = dataclasses.replace(recipe, train="adapter", start=str(tmp_path / "base.safetensors"), adapter=adapter,
                                 objective="region", data=(str(folder), *recipe.data), batch=8)  # fmt: skip

    def steps(name: str, count: int) -> Trainer:
        trainer = build_trainer(recipe, tmp_path / name, say=lambda _: None)
        trainer.begin()
        for _ in range(count):
            trainer.train_step()
        return trainer

    whole = steps("whole", 4)
    steps("parts", 2).train(max_seconds=0)
    second = steps("parts", 2)
    assert second.samples == 32
    for name, value in whole.state()["model"].items():
        assert torch.equal(value, second.state()["model"][name]), name
    (folder / "instances.json").unlink()
    assert not torch.equal(steps("without", 4).draw_inputs()[0]["roi"], whole.draw_inputs()[0]["roi"])


def test_real_annotations() -> None:
    sample = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco" / "train"
    if not sample.is_dir():
        pytest.skip(f"no pictures of COCO in {sample}")
    said: list[str] = []
    found = reader(sample, 256, said).of_batch(0, 16)
    assert not said and None not in found
    shares = [float(sum(objects, torch.zeros(256, 256)).clamp(max=1).mean()) for objects in found]
    assert 0.1 < np.mean(shares) < 0.9
