"""Pillow's plugin."""

import io

import numpy as np
import pytest
from PIL import Image

import promptcodec
import promptcodec.pillow


def test_files_are_opened_and_saved(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.ptc", quality=60)
    assert (tmp_path / "a.ptc").read_bytes() == promptcodec.encode(photo, 60)
    with Image.open(tmp_path / "a.ptc") as opened:
        assert (opened.format, opened.size, opened.mode) == ("PTC", image.size, "RGB")
        assert (np.asarray(opened) == np.asarray(promptcodec.decode(tmp_path / "a.ptc"))).all()
        opened.convert("L").save(tmp_path / "grey.ptc")
    with Image.open(tmp_path / "grey.ptc") as grey:
        assert grey.mode == "L"
        assert grey.resize((20, 20)).size == (20, 20)
    broken = bytearray((tmp_path / "a.ptc").read_bytes())
    broken[-20] ^= 1
    with Image.open(io.BytesIO(bytes(broken))) as opened, pytest.raises(OSError, match="damaged"):
        opened.load()
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(io.BytesIO(broken[:9]))
    with pytest.raises(OSError, match="outside"):
        image.save(tmp_path / "b.ptc", quality=300)


def test_metadata_is_kept(tmp_path, photo):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(photo).save(tmp_path / "a.ptc", exif=exif, icc_profile=None)
    with Image.open(tmp_path / "a.ptc") as opened:
        assert opened.getexif()[0x010E] == "a description"


def test_saving_takes_the_options_of_encode(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.ptc", target_size=4000, preview=True)
    assert 3900 <= (tmp_path / "a.ptc").stat().st_size <= 4000
    assert promptcodec.info(tmp_path / "a.ptc").preview
    with pytest.raises(OSError, match="exclude each other"):
        image.save(tmp_path / "b.ptc", target_size=4000, quality=50)
