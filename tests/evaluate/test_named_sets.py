"""Test sets by name: their checks, and COCO's squares with masks."""

import json

import numpy as np
import pytest
from pictures import make_photo
from PIL import Image

from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.evaluate.data.coco import instance_mask, prepare
from promptcodec.evaluate.data.named_sets import open_set, split_name
from promptcodec.evaluate.results import ResultsFile


def fill(folder, count, size):
    folder.mkdir()
    for index in range(count):
        Image.new("RGB", size, (index, 0, 0)).save(folder / f"{index:03}.png")
    return folder


def test_a_folder_must_hold_the_set(tmp_path):
    kodak = fill(tmp_path / "k", 24, (768, 512))
    pictures, part = open_set("kodak", kodak)
    assert (len(pictures), part) == (24, None)
    (kodak / "003.png").unlink()
    assert "23 of the 24" in open_set("kodak", kodak)[1]
    Image.new("RGB", (512, 768)).save(kodak / "003.png")  # portrait
    Image.new("RGB", (768, 512)).save(kodak / "more.png")
    with pytest.raises(UsageError, match="25 pictures"):
        open_set("kodak", kodak)
    Image.new("RGB", (768, 511)).save(kodak / "more.png")
    with pytest.raises(UsageError, match=r"more.png is 768x511.*512x768 or 768x512"):
        open_set("kodak", kodak)
    assert "1 of the 100" in open_set("tecnick", fill(tmp_path / "t", 1, (1200, 1200)))[1]
    assert open_set("clic2024", fill(tmp_path / "c", 2, (2000, 1300)))[1] is None
    with pytest.raises(UsageError, match="too small"):
        open_set("clic2022", fill(tmp_path / "small", 1, (300, 200)))
    with pytest.raises(UsageError, match="no folder"):
        open_set("cid22", tmp_path / "nowhere")


def test_names(tmp_path):
    assert split_name(f"kodak={tmp_path}") == ("kodak", tmp_path)
    assert split_name(str(tmp_path)) == (None, tmp_path)
    (tmp_path / "a=b.png").touch()
    assert split_name(str(tmp_path / "a=b.png"))[0] is None
    with pytest.raises(UsageError, match="kodak, cid22"):
        split_name("kodac=somewhere")


def test_masks_of_polygons_and_runs():
    polygon = [[2, 1, 6, 1, 6, 4, 2, 4]]
    expected = np.zeros((8, 10), np.uint8)
    expected[1:5, 2:7] = 255
    assert (instance_mask([polygon], 10, 8) == expected).all()
    runs = {"size": [8, 10], "counts": [2 * 8 + 1, 3, 60]}  # column 2, rows 1 to 3
    column = np.zeros_like(expected)
    column[1:4, 2] = 255
    assert (instance_mask([runs], 10, 8) == column).all()
    assert (instance_mask([polygon, runs], 10, 8) == expected).all()
    with pytest.raises(UsageError, match="run lengths"):
        instance_mask([{"size": [8, 10], "counts": "abc"}], 10, 8)


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "coco"
    folder.mkdir()
    for name in ("a", "b"):
        Image.fromarray(make_photo(96, 128)).save(folder / f"{name}.jpg")
    square = [10, 10, 40, 10, 40, 40, 10, 40]
    content = {
        "images": [{"id": i, "file_name": f"{n}.jpg", "width": 128, "height": 96} for i, n in enumerate("ab")],
        "annotations": [{"image_id": 0, "segmentation": [square]}],
    }
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def test_coco_squares(coco, tmp_path):
    pictures, masks = prepare(coco, tmp_path / "out")
    assert [path.name for path in pictures.iterdir()] == ["a.png"]  # b has no object
    assert Image.open(pictures / "a.png").size == (512, 512)
    mask = np.asarray(Image.open(masks / "a.png"))
    rows = np.flatnonzero(mask.any(1))
    assert (rows[0], rows[-1]) == (pytest.approx(10 * 512 / 96, abs=3), pytest.approx(41 * 512 / 96, abs=3))
    (coco / "a.jpg").unlink()
    with pytest.raises(UsageError, match=r"lists a\.jpg"):
        prepare(coco, tmp_path / "again")
    with pytest.raises(UsageError, match="neither"):
        prepare(tmp_path, tmp_path / "again")


def test_eval_takes_names(coco, tmp_path, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["promptcodec", "eval", "--json", "-o", *map(str, arguments)])
        try:
            app.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr()
        return 0, capsys.readouterr()

    out = tmp_path / "r.jsonl"
    quality = ("--codec", "jpeg", "--quality", "50")
    assert run(out, f"coco={coco}", *quality, "--metric", "psnr_inside", "--metric", "psnr_outside")[0] == 0
    (row,) = ResultsFile(out)
    assert row.width == row.height == 512
    assert row.scores["psnr_inside"] != row.scores["psnr_outside"]
    kodak = fill(tmp_path / "k", 1, (768, 512))
    code, said = run(out, f"kodak={kodak}", *quality)
    assert code == 0
    assert "1 of the 24" in said.err
    assert run(out, f"coco={coco}", str(kodak), *quality)[0] == 2
    assert run(out, f"kodac={kodak}", *quality)[0] == 2
    assert run(out, *quality)[0] == 2
