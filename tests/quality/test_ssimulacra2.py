"""SSIMULACRA2 by its package: pictures in memory score as their files do."""

import io

import numpy as np
import pytest
from PIL import Image

from promptcodec.errors import ImageError, UsageError
from promptcodec.quality.ssimulacra2 import ssimulacra2

library = pytest.importorskip("ssimulacra2")


def jpeg(photo, quality):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_files_score_the_same(photo, tmp_path):
    decoded = jpeg(photo, 40)
    for name, pixels in (("a.png", photo), ("b.png", decoded)):
        Image.fromarray(pixels).save(tmp_path / name)
    assert ssimulacra2(photo, decoded) == library.compute_ssimulacra2(tmp_path / "a.png", tmp_path / "b.png")


def test_it_grows_with_quality_up_to_100(photo):
    scores = [ssimulacra2(photo, jpeg(photo, quality)) for quality in (10, 50, 90)]
    assert scores == sorted(scores)
    assert scores[2] < 100
    assert ssimulacra2(photo, photo) == 100


def test_what_has_no_score(photo, monkeypatch):
    assert ssimulacra2(photo[:7], 255 - photo[:7]) is None  # the package would say 100
    assert ssimulacra2(photo[:8], 255 - photo[:8]) < 100
    with pytest.raises(ImageError, match="shape"):
        ssimulacra2(photo, photo[1:])
    monkeypatch.setitem(__import__("sys").modules, "ssimulacra2", None)
    with pytest.raises(UsageError, match=r"promptcodec\[eval\]"):
        ssimulacra2(photo, photo)
