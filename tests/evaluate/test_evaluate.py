"""Evaluation: metrics and BD-rate against known answers, the anchors, and results that are measured once."""

import json

import pytest
from PIL import Image

from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.registry import open_codec, peers
from promptcodec.evaluate.data.datasets import find_pictures
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.runner import measure
from promptcodec.evaluate.summary import summarise
from promptcodec.quality.psnr import psnr

NEEDS = {"jpegxl": "imagecodecs", "heic": "pillow_heif", "heic-psnr": "pillow_heif", "vvc": "imageio_ffmpeg"}


@pytest.mark.parametrize("name", peers())
def test_peers(name, photo):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    photo = photo[:95, :129] if name == "vvc" else photo  # odd sides
    codec = open_codec(name)
    ends = sorted((codec.encode(photo, codec.settings[i]) for i in (0, -1)), key=len)
    assert len(ends[0]) < len(ends[1])
    qualities = [psnr(photo, codec.decode(data)) for data in ends]
    assert qualities[0] < qualities[1]
    assert codec.decode(ends[0]).shape == photo.shape
    with pytest.raises(UsageError):
        codec.check(1000)


def test_jpeg_is_the_peer_people_use(photo):
    data = open_codec("jpeg").encode(photo, 60)
    assert b"\xff\xc2" in data  # progressive
    with pytest.raises(UsageError, match="no codec"):
        open_codec("jpeg3000")


@pytest.fixture
def pictures(tmp_path, photo):
    for name, pixels in (("a", photo), ("b", photo[:, ::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return find_pictures([tmp_path])


def test_a_later_run_measures_only_what_is_new(tmp_path, pictures):
    plan = [(open_codec("jpeg"), [20, 60])]
    first = list(measure(pictures, plan, ResultsFile(tmp_path / "r.jsonl")))
    assert len(first) == 4
    assert first[0].bpp == pytest.approx(8 * first[0].bytes / (160 * 208))
    with (tmp_path / "r.jsonl").open("a") as file:
        file.write('{"codec": "jp')  # a crash
    again = ResultsFile(tmp_path / "r.jsonl")
    plan = [(open_codec("jpeg"), [20, 60, 80])]
    rows = list(measure(pictures, plan, again))
    assert rows[0] == first[0]  # its seconds included: not measured again
    assert len(ResultsFile(tmp_path / "r.jsonl")) == 6
    (tmp_path / "other.txt").write_text("not results\n")
    with pytest.raises(UsageError, match="line 1"):
        ResultsFile(tmp_path / "other.txt")


def test_further_metrics_join_those_that_a_row_has(tmp_path, pictures):
    plan, path = [(open_codec("jpeg"), [20])], tmp_path / "r.jsonl"
    masks = {}
    for index, (picture, level) in enumerate(zip(pictures, (64, 192), strict=True)):
        masks[picture] = tmp_path / f"mask-{index}.png"
        Image.new("L", (208, 160), level).save(masks[picture])
    inside = list(measure(pictures, plan, ResultsFile(path), Judge(["psnr_inside"]), masks))
    colour = list(measure(pictures, plan, ResultsFile(path), Judge(["psnr_yuv"])))
    for before, after in zip(inside, colour, strict=True):
        assert set(after.scores) == {"psnr_inside", "psnr_yuv"}
        assert after.scores["psnr_inside"] == before.scores["psnr_inside"] and after.mask == before.mask
    assert list(ResultsFile(path)) == colour
    masks[pictures[0]], masks[pictures[1]] = masks[pictures[1]], masks[pictures[0]]
    for row in measure(pictures, plan, ResultsFile(path), Judge(["psnr_outside"]), masks):
        assert set(row.scores) == {"psnr_yuv", "psnr_outside"}  # what was weighted with another mask goes


def test_summary_and_command(tmp_path, pictures, monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv",
        ["promptcodec", "eval", str(tmp_path), "-o", str(tmp_path / "r.jsonl"),
         *("--codec", "promptcodec", "--codec", "jpeg", "--codec", "webp"), "-q", "10", "-q", "40",
         "-q", "70", "-q", "95", "--json", "--plot", str(tmp_path / "rd.png")],
    )  # fmt: skip
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    summary = json.loads(capsys.readouterr().out)
    assert summary["pictures"] == 2
    assert {(b["anchor"], b["metric"]) for b in summary["bd_rates"]} == {
        (a, m) for a in ("jpeg", "webp") for m in ("psnr", "ms_ssim")
    }
    assert Image.open(tmp_path / "rd.png").size[0] > 600
    rows = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert len(rows) == 24
    ours = summarise(ResultsFile(tmp_path / "r.jsonl")).curves
    assert sorted(len(points) for points in ours.values()) == [4, 4, 4]
