"""``promptcodec maps``."""

import numpy as np
import pytest
from PIL import Image

from promptcodec.cli import app


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


@pytest.mark.parametrize(("kind", "text"), [("bit", "known: bits, channel, field"), ("field", "not 208 x 160")])
def test_what_has_no_map(kind, text, photo, tmp_path, monkeypatch, capsys):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    monkeypatch.setattr("sys.argv", ["promptcodec", "maps", kind, str(tmp_path / "photo.png")])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 2
    assert text in capsys.readouterr().err
