"""One picture, all codecs at our size."""

import json

import numpy as np
import pytest
from pictures import make_photo
from PIL import Image

from promptcodec.bitstream.tiling import Rect
from promptcodec.cli import app
from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.evaluated_codec import EvaluatedCodec
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.compare import closest_setting
from promptcodec.evaluate.pages.montage import Tile, montage, most_detailed


class Made(EvaluatedCodec):
    """Files whose size is a known function of the setting."""

    name, options, version, settings = "made", {}, "1", (1, 2)

    def __init__(self, extremes, whole):
        self.extremes, self.whole_settings, self.calls = extremes, whole, 0
        self.quality_scale = whole

    def check(self, quality):
        pass

    def encode(self, rgb, quality):
        self.calls += 1
        return bytes(round(1000 + 90 * (quality if self.whole_settings else 100 / quality)))

    def decode(self, data):
        raise AssertionError


@pytest.mark.parametrize("size", [10, 1000, 1100, 4444, 9999, 10**6])
def test_closest_setting(size):
    whole = Made((0, 100), True)
    found = closest_setting(whole, None, size)
    assert found == min(range(101), key=lambda q: abs(1000 + 90 * q - size))
    assert whole.calls <= 10
    continuous = Made((25, 0.01), False)
    reached = len(continuous.encode(None, closest_setting(continuous, None, size)))
    assert reached == pytest.approx(min(max(size, 1360), 901_000), rel=0.01)


@pytest.mark.parametrize("quality", [37.3, 83.1])
def test_closest_setting_of_qualities_that_are_no_whole_numbers(photo, quality):
    codec = open_codec("promptcodec:nano")
    size = len(codec.encode(photo, quality))
    assert closest_setting(codec, photo, size) == pytest.approx(quality, abs=0.6)


def test_real_codecs_come_close(photo):
    size = len(open_codec("jpeg").encode(photo, 60))
    for name in ("jpeg-444", "webp", "jpeg2000", "avif"):
        codec = open_codec(name)
        assert len(codec.encode(photo, closest_setting(codec, photo, size))) == pytest.approx(size, rel=0.04)


def test_montage_shows_the_crop():
    picture = make_photo(300, 400)
    tiles = [Tile(picture, "one", ("a", "b")), Tile(255 - picture, "two", ("c",), accent=True)]
    page = np.asarray(montage("title", tiles, Rect(100, 50, 64, 48)))
    wanted = np.kron(picture[50:98, 100:164], np.ones((6, 6, 1), np.uint8))
    assert any((page[y : y + 288, 28:412] == wanted).all() for y in range(60, 130))
    for bad in ((0, 0, 401, 10), (-1, 0, 10, 10), (0, 0, 0, 10)):
        with pytest.raises(UsageError, match="not inside"):
            montage("title", tiles, Rect(*bad))


def test_most_detailed_finds_texture():
    picture = np.full((300, 400, 3), 128, np.uint8)
    picture[160:256, 240:336] = np.random.default_rng(0).integers(0, 256, (96, 96, 3))
    assert most_detailed(picture, 96) == Rect(240, 160, 96, 96)
    assert most_detailed(picture[:20, :50], 96) == Rect(0, 0, 50, 20)


def test_command(tmp_path, photo, monkeypatch, capsys):
    Image.fromarray(photo).save(tmp_path / "a.png")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["promptcodec", "compare", str(tmp_path / "a.png"), *map(str, arguments)])
        try:
            app.main()
        except SystemExit as end:
            return end.code or 0, capsys.readouterr()
        return 0, capsys.readouterr()

    code, said = run("--codec", "jpeg", "--codec", "webp", "--json", "--target-size", "5k")
    assert code == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["codec"] for row in rows] == ["promptcodec:nano", "jpeg", "webp"]
    assert 4950 <= rows[0]["bytes"] <= 5000
    assert Image.open(tmp_path / "a-compare.png").size[0] > 600
    assert run("--codec", "jpeg")[0] == 2  # the montage exists
    code, said = run("--codec", "jpeg", "--overwrite", "-q", 30)
    assert code == 0
    assert "vs ours" in said.out
    assert run("--codec", "nonsense", "--overwrite")[0] == 2
    region = ("--roi", "20,20,64,64", "--look", 1, "--adapter", "look")  # the package has a region
    steered = ("--codec", "promptcodec:nano+look@look=0", "--target-size", "5k", "--json", "--overwrite")
    code, said = run(*region, *steered)
    assert code == 0
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [row["codec"] for row in rows] == ["promptcodec:nano+look+region@look=1", "promptcodec:nano+look@look=0"]
    assert rows[1]["bytes"] == pytest.approx(rows[0]["bytes"], rel=0.02)
    assert 4900 <= rows[0]["bytes"] <= 5000
    assert rows[0]["scores"]["psnr_inside"] > rows[1]["scores"]["psnr_inside"] + 0.5
    assert rows[0]["scores"]["psnr_outside"] < rows[1]["scores"]["psnr_outside"]
    monkeypatch.setenv("COLUMNS", "160")
    code, said = run("--roi", "20,20,64,64", "--codec", "jpeg", "--overwrite")
    assert code == 0
    assert "inside" in said.out
    assert run("--crop", "1,2", "--overwrite")[0] == 2
    code, said = run("--crop", "0,0,9999,10", "--overwrite", "--json")
    assert (code, said.out) == (2, "")  # before anything is encoded
    assert "is not inside" in said.err
    code, said = run("-o", tmp_path / "none" / "x.png", "--json")
    assert (code, said.out) == (2, "")
    assert "there is no folder" in said.err
