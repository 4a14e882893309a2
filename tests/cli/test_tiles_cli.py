"""--memory, --crop and --preview."""

import numpy as np
from pictures import make_photo
from PIL import Image

from promptcodec.bitstream.container import unpack


def test_tiles_crop_and_preview(tmp_path, run):
    path, coded = tmp_path / "a.png", tmp_path / "a.ptc"
    Image.fromarray(make_photo(270, 530)).save(path)
    assert run("encode", str(path), "--memory", "30M")[0] == 0
    out = run("info", str(coded))[1]
    assert "tiles          6" in out
    assert "preview        256x130" in out
    assert run("decode", str(coded), "-o", str(tmp_path / "whole.png"))[0] == 0
    assert run("decode", str(coded), "--crop", "240,200,40,60", "-o", str(tmp_path / "part.png"))[0] == 0
    whole, part = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("whole", "part"))
    assert np.array_equal(part, whole[200:260, 240:280])
    (tmp_path / "cut.ptc").write_bytes(coded.read_bytes()[:20_000])
    assert run("decode", str(tmp_path / "cut.ptc"), "--preview", "-o", str(tmp_path / "small.png"))[0] == 0
    assert Image.open(tmp_path / "small.png").size == (256, 130)
    code, _, err = run("decode", str(tmp_path / "cut.ptc"), "-o", str(tmp_path / "no.png"))
    assert (code, "the file ends" in err) == (1, True)
    for bad in ("1,2,3", "a,b,c,d", "-1,0,5,5"):
        assert run("decode", str(coded), "--crop", bad, "-o", "-")[0] == 2


def test_an_effort_across_tiles(tmp_path, run):
    """It is made for every tile, and the file opens as any other."""
    path = tmp_path / "a.png"
    Image.fromarray(make_photo(270, 530)).save(path)
    streams = []
    for name, more in (("plain", ()), ("refined", ("--effort", "2"))):
        coded = tmp_path / f"{name}.ptc"
        assert run("encode", path, "--memory", "30M", "--no-preview", "-o", coded, *more)[0] == 0
        assert run("decode", coded, "-o", tmp_path / f"{name}.png")[0] == 0
        streams.append([tile.stream for tile in unpack(coded.read_bytes()).tiles])
    plain, refined = streams
    assert len(plain) == len(refined) == 6
    assert all(a != b for a, b in zip(plain, refined, strict=True))
    assert np.asarray(Image.open(tmp_path / "refined.png")).shape == (270, 530, 3)
