"""``promptcodec maps``."""

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.cli import app
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.data.datasets import read_picture
from promptcodec.evaluate.pages.map_sheet import column
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.pyramid import rate


@pytest.mark.parametrize("kind", ["bits", "channel", "field"])
def test_a_map_is_drawn(kind, photo, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    picture, target = tmp_path / "photo.png", tmp_path / "map.png"
    Image.fromarray(np.tile(photo, (2, 2, 1))).save(picture)
    monkeypatch.setattr("sys.argv", ["promptcodec", "maps", kind, str(picture), "-o", str(target)])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert len(np.unique(np.asarray(Image.open(target)))) > 20


@pytest.mark.parametrize(("kind", "text"), [("bit", "known: bits, channel, field, sheet"), ("field", "not 208 x 160")])
def test_what_has_no_map(kind, text, photo, tmp_path, monkeypatch, capsys):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.setattr("sys.argv", ["promptcodec", "maps", kind, str(tmp_path / "photo.png")])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 2
    assert text in capsys.readouterr().err


@pytest.fixture(scope="module")
def prompts(tmp_path_factory, codec):
    """An untrained adapter with prompts on both sides, which carries the rate."""
    torch.manual_seed(0)
    adapter = rate(codec.backend.network.config)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    path = tmp_path_factory.mktemp("adapters") / "prompts.safetensors"
    save_adapter(adapter, codec.backend.network, path)
    return path


def test_a_sheet_of_maps(photo, tmp_path, run, prompts):
    picture, target = tmp_path / "photo.png", tmp_path / "sheet.png"
    Image.fromarray(photo).save(picture)
    rows = ("--row", "bits", "--row", "channel", "--row", "attention")
    codec = f"promptcodec:nano+{prompts}"
    assert run("maps", "sheet", picture, "--codec", codec, "-q", 20, "-q", 70, *rows, "-o", target)[0] == 0
    narrow = Image.open(target).size
    regions = ("--codec", "promptcodec:nano", "--codec", "promptcodec:nano+region", "--roi", "20,20,64,64")
    assert run("maps", "sheet", picture, *regions, "-o", target)[0] == 0
    assert Image.open(target).size[1] < narrow[1]  # one row of maps
    for wrong, text in (
        (("sheet", picture, "--codec", "promptcodec:nano", "--row", "attention"), "no prompts in its encoder"),
        (("sheet", picture, "--codec", "jpeg"), "has no networks to look into"),
        (("sheet", picture, "--row", "nothing"), "--row is one of bits, channel, attention"),
        (("bits", picture, "-q", 1, "-q", 2), "are for a sheet"),
    ):
        code, _, err = run("maps", *wrong, "-o", target)
        assert code == 2
        assert text in err


def test_columns_show_what_the_codec_does(photo, tmp_path, prompts):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    picture = read_picture(tmp_path / "photo.png")
    codec = open_codec(f"promptcodec:nano+{prompts}")
    low, high = (column(codec, setting, picture, ["bits", "attention"]) for setting in (20, 80))
    assert low.maps["bits"].shape == (12, 16)  # the padded picture's
    assert low.maps["bits"].mean() < high.maps["bits"].mean()
    assert low.row.bpp < high.row.bpp
    estimate = high.maps["bits"].sum() * codec.inputs(photo, 80)[0].config.latent_channels / photo[..., 0].size
    assert estimate < 1.05 * high.row.bpp  # of y alone
    assert 0 < high.maps["attention"].min() <= high.maps["attention"].max() < 1
    region = open_codec("promptcodec:nano+region")
    mask = np.zeros(photo.shape[:2], np.uint8)
    mask[:64, :64] = 255
    inside = column(region, 40, picture, ["bits"], mask).maps["bits"]
    plain = column(open_codec("promptcodec:nano"), 40, picture, ["bits"], mask).maps["bits"]
    assert inside[:4, :4].mean() > plain[:4, :4].mean()
    assert inside[5:, 5:].mean() < plain[5:, 5:].mean()
