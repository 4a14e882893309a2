"""Training data: crops as a function of seed and step, shards that arrive late, windows over more than memory."""

import dataclasses
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.errors import UsageError
from promptcodec.train.build import build_trainer
from promptcodec.train.data.arrivals import Watch, take_up_arrivals
from promptcodec.train.data.crops import CropSampler
from promptcodec.train.data.pictures import PictureStore, load_pictures
from promptcodec.train.data.sources import find_units
from promptcodec.train.recipe import Recipe

CPU = torch.device("cpu")


def shard(path: Path, pictures: list[Path]) -> Path:
    with tarfile.open(path, "w") as tar:
        for picture in pictures:
            tar.add(picture, picture.name)
    return path


def filled(sources, smallest: int = 1, **options) -> PictureStore:
    store = PictureStore(sources, smallest, CPU, **options)
    store.fill()
    return store


def test_crops_are_a_function_of_seed_and_step(pictures: Path) -> None:
    one, two = (CropSampler(filled([pictures]), 64, 0.5, seed=1) for _ in range(2))
    assert torch.equal(one.batch(7, 4), two.batch(7, 4))
    assert not torch.equal(one.batch(7, 4), one.batch(8, 4))
    batch = one.batch(0, 16)
    assert batch.shape == (16, 3, 64, 64)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert batch.min() >= 0 and batch.max() <= 1
    assert torch.equal(one.batch(0, 16, part=1, parts=4), batch[1::4])


def test_crops_are_cut_from_the_pictures(tmp_path: Path) -> None:
    """A picture that is its own coordinates: full-scale crops are found in it, downscaled ones span more of it."""
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    Image.fromarray(np.stack([x, y, x * 0], 2).astype(np.uint8)).save(tmp_path / "a.png")
    batch = (CropSampler(filled([tmp_path]), 48, 0.5, seed=0).batch(0, 64) * 255).double()
    spans = (batch[:, 0, 0, 0] - batch[:, 0, 0, -1]).abs()
    full = (spans - 47).abs() < 1e-3
    assert 24 <= full.sum() <= 40
    assert spans.max() > 70
    assert spans.max() <= 96
    assert torch.allclose(batch[full], batch[full].round(), atol=1e-4)
    assert (batch[:, 0, 0, 0] > batch[:, 0, 0, -1]).float().mean() > 0.25  # flipped across
    down = (batch[:, 1, 0, 0] > batch[:, 1, -1, 0]).float().mean()
    assert 0.05 < down < 0.5


def test_transposed_crops_are_the_others_with_rows_for_columns(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)).save(tmp_path / "a.png")
    store = filled([tmp_path])
    before = CropSampler(store, 48, 0.5, seed=0).batch(3, 64)
    after = CropSampler(store, 48, 0.5, seed=0, transposed=0.5).batch(3, 64)
    turned = [torch.equal(a, b.mT) and not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    assert all(torch.equal(a, b) or t for a, b, t in zip(after, before, turned, strict=True))
    assert 20 <= sum(turned) <= 44
    assert torch.equal(CropSampler(store, 48, 0.5, 0, plain=True, transposed=0.5).batch(3, 64),
                       CropSampler(store, 48, 0.5, 0, plain=True).batch(3, 64))  # fmt: skip


def test_plain_crops_are_as_the_pictures_are(tmp_path: Path) -> None:
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    Image.fromarray(np.stack([x, y, x * 0], 2).astype(np.uint8)).save(tmp_path / "a.png")
    batch = (CropSampler(filled([tmp_path]), 48, 0.5, seed=0, plain=True).batch(0, 64) * 255).double()
    assert torch.allclose(batch[:, 0, 0, -1] - batch[:, 0, 0, 0], torch.tensor(47.0).double(), atol=1e-3)
    assert torch.allclose(batch[:, 1, -1, 0] - batch[:, 1, 0, 0], torch.tensor(47.0).double(), atol=1e-3)
    assert len(batch[:, 0, 0, 0].unique()) > 32  # from everywhere


def test_a_recipe_chooses_its_crops(recipe: Recipe, tmp_path: Path) -> None:
    cuts = []
    for crops in ("augmented", "plain"):
        trainer = build_trainer(dataclasses.replace(recipe, crops=crops), tmp_path / crops, say=lambda _: None)
        trainer.begin()
        cuts.append(trainer.data.sampler.cuts(0, 32))
    assert any(cut.across for cut in cuts[0])
    assert {(cut.side, cut.across, cut.down) for cut in cuts[1]} == {(recipe.patch, False, False)}


def test_folders_and_shards_hold_the_same(pictures: Path, tmp_path: Path) -> None:
    tar = shard(tmp_path / "a.tar", sorted(pictures.iterdir()))
    for one, two in zip(filled([pictures]).pictures, filled([tar]).pictures, strict=True):
        assert torch.equal(one, two)
    assert len(load_pictures([tar])) == 3


def test_units_keep_their_names_when_they_move(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(pictures, other)
    assert [unit.name for unit in find_units([pictures, other])] == ["0.png", "1.png", "2.png"] + [
        f"{i}.png#2" for i in range(3)
    ]


def test_no_pictures_is_an_error(tmp_path: Path, pictures: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="no picture"):
        load_pictures([empty])
    with pytest.raises(UsageError, match="no picture of at least 500 pixels a side"):
        filled([pictures], 500)
    with pytest.raises(UsageError, match="neither a folder nor"):
        load_pictures([tmp_path / "missing"])


def test_damaged_pictures_are_left_out_and_said_so(pictures: Path) -> None:
    (pictures / "1.png").write_bytes(b"no picture")
    told: list[str] = []
    assert len(filled([pictures], say=told.append).pictures) == 2
    assert "1.png cannot be decoded" in told[0]


def test_shards_join_when_they_are_complete(pictures: Path, tmp_path: Path) -> None:
    files = sorted(pictures.iterdir())
    folder = tmp_path / "data"
    folder.mkdir()
    shard(folder / "a.tar", files[:1])
    told: list[str] = []
    store = filled([folder], say=told.append)
    assert Watch(store, 1e-9).arrived() == []
    whole = shard(tmp_path / "b.tar", files[1:]).read_bytes()
    (folder / "b.tar").write_bytes(whole[: len(whole) // 2])
    assert store.take_up(store.arrived()) == []
    assert store.take_up(store.arrived()) == []
    assert len(told) == 1 and "b.tar is not complete" in told[0]  # said once
    (folder / "b.tar").write_bytes(whole)
    assert store.take_up(store.arrived()) == ["b.tar"]
    assert len(store.pictures) == 3


def test_a_share_of_the_pictures(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    """Evenly spread, over shards that come later too; the same after a pause; and another share starts anew."""
    names = sorted(pictures.iterdir())
    one = shard(tmp_path / "a.tar", names * 4)
    assert [len(filled([one], share=share).pictures) for share in (1.0, 0.5, 0.25, 0.01)] == [12, 6, 3, 1]
    half = filled([one], share=0.5)
    assert all(torch.equal(a, b) for a, b in zip(half.pictures, filled([one]).pictures[::2], strict=True))
    (tmp_path / "both").mkdir()
    store = filled([shutil.copy(one, tmp_path / "both")], share=0.4)
    late = shard(tmp_path / "both" / "b.tar", names)
    store.sources = [tmp_path / "both"]
    store.take_up(store.arrived())
    assert late.is_file()
    assert len(store.pictures) == 6
    again = PictureStore([tmp_path / "both"], 1, CPU, share=0.4)
    again.restore(store.state(), 0)
    assert all(torch.equal(a, b) for a, b in zip(store.pictures, again.pictures, strict=True))
    other = PictureStore([tmp_path / "both"], 1, CPU, share=0.8)
    other.restore(store.state(), 0)
    assert len(other.pictures) == 12
    few = dataclasses.replace(recipe, data=(str(one),), share=0.25)
    assert len(build_trainer(few, tmp_path / "run").data.store.pictures) == 3
    with pytest.raises(UsageError, match="give fewer shards"):
        build_trainer(dataclasses.replace(few, data=("https://host/a.tar",)), tmp_path / "far")


def test_late_shards_are_recorded(recipe: Recipe, pictures: Path, tmp_path: Path) -> None:
    """A run that takes up a shard, is cut and resumes, equals one that took it up at the same step and was not cut."""
    import dataclasses

    files = sorted(pictures.iterdir())
    folder = tmp_path / "data"
    folder.mkdir()
    shard(folder / "b.tar", files[:2])
    recipe = dataclasses.replace(recipe, data=(str(folder),), watch=1e-9, samples=16)
    first = build_trainer(recipe, tmp_path / "run")
    first.begin()
    first.train_step()
    shard(folder / "a.tar", files[2:])  # before b.tar in name order, after it in order of arrival
    assert take_up_arrivals(first.data.watch, first.world)
    first.save()
    first.train_step()
    second = build_trainer(recipe, tmp_path / "run")
    second.begin()
    second.train_step()
    for name, value in first.task.model.state_dict().items():
        assert torch.equal(value, second.task.model.state_dict()[name]), name
    (folder / "a.tar").unlink()
    told: list[str] = []
    third = build_trainer(recipe, tmp_path / "run", say=told.append)
    third.begin()
    third.train_step()
    assert any("the data lacks a.tar" in text for text in told)


def test_a_window_moves_over_more_than_memory(tmp_path: Path) -> None:
    """Four pictures a time of ten, in the order of the data, and the same after a resumption."""
    for i in range(10):
        Image.fromarray(np.full((20, 30, 3), i, dtype=np.uint8)).save(tmp_path / f"{i}.png")

    def shown(store: PictureStore) -> list[int]:
        return [int(picture[0, 0, 0]) for picture in store.pictures]

    store = filled([tmp_path], memory=4 * 1800, reuse=8)
    assert shown(store) == [1, 2, 3, 4]
    store.move(7)
    assert shown(store) == [1, 2, 3, 4]
    store.move(24)
    assert shown(store) == [4, 5, 6, 7]
    again = PictureStore([tmp_path], 1, CPU, 4 * 1800, 8)
    again.restore(store.state(), 24)
    assert shown(again) == [4, 5, 6, 7]
    for either in (store, again):
        either.move(56)
    assert shown(store) == shown(again) == [8, 9, 0, 1]


def test_a_memory_that_holds_all_never_moves(pictures: Path) -> None:
    store = filled([pictures], memory=2**20, reuse=1)
    before = list(store.pictures)
    store.move(1000)
    assert all(one is two for one, two in zip(before, store.pictures, strict=True))


def test_a_sample_stays_the_same(pictures: Path, tmp_path: Path) -> None:
    """Of what the run began with, whatever arrives, moves through memory, or is read again after a pause."""
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(10):
        Image.fromarray(np.full((20, 30, 3), i, dtype=np.uint8)).save(folder / f"{i}.png")
    (folder / "4.png").write_bytes(b"no picture")

    def shown(store: PictureStore, count: int) -> list[int]:
        return [int(picture[0, 0, 0]) for picture in store.sample(count)]

    store = filled([folder], memory=4 * 1800, reuse=8)
    assert [shown(store, count) for count in (3, 5)] == [[0, 3, 6], [0, 2, 5, 6, 8]]
    assert shown(store, 16) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    shutil.copy(pictures / "0.png", folder / "00.png")
    store.take_up(store.arrived())
    store.move(56)
    assert shown(store, 5) == [0, 2, 5, 6, 8]
    again = PictureStore([folder], 1, CPU, 4 * 1800, 8)
    again.restore(store.state(), 56)
    assert shown(again, 5) == [0, 2, 5, 6, 8]
