"""Which pictures a lossless PNG would hold in fewer bytes."""

import numpy as np
import pytest

from promptcodec.picture import lossless
from promptcodec.picture.lossless import FLAT, ROWS, lossless_size
from promptcodec.picture.picture import Picture


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("flat_rows", [80, 90])
def test_every_pixel_counts_alike(flat_rows, grey, monkeypatch):
    """Rows are looked at in blocks, of which the last is smaller: its flat rows weigh no more than others."""
    height = ROWS + 90
    pixels = np.random.default_rng(0).integers(0, 2, (height, 101, 1), dtype=np.uint8)
    pixels[:, ::2], pixels[:, 1::2] = 0, 1  # no pixel equals its neighbour
    pixels[height - flat_rows :] = 7
    compressed = []
    monkeypatch.setattr(lossless.Image, "fromarray", lambda array: compressed.append(1) or REAL(array))
    assert (lossless_size(Picture(rgb=pixels.repeat(3, 2), grey=grey)) is not None) == (flat_rows / height >= FLAT)
    assert bool(compressed) == (flat_rows / height >= FLAT)


REAL = lossless.Image.fromarray
