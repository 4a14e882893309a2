"""JPEG 2000 files: samples of more than 8 bits, and the profile."""

import io
import struct

import imagecodecs
import numpy as np
import pytest
from PIL import Image, ImageCms
from read_samples import eight, near, quietly

from promptcodec.picture.read import read

RNG = np.random.default_rng(0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000_of_more_than_8_bits(channels, bits, reversible, codec):
    white = 2**bits - 1
    values = RNG.integers(0, white + 1, (64, 64, channels)).astype(np.uint16)
    values[:16], values[16:32] = white, 0
    data = imagecodecs.jpeg2k_encode(
        values[:, :, 0] if channels == 1 else values, level=0 if reversible else 80, reversible=reversible,
        bitspersample=bits, codecformat=codec,
    )  # fmt: skip
    for source in (data, Image.open(io.BytesIO(data))):
        with pytest.warns(UserWarning, match=f"^{bits} bits"):
            picture = read(source)
        near(picture.rgb[:, :, 0], eight(values[:, :, 0], white), 1 if reversible else 3)
        near(picture.rgb[:15, :, -1], 255, 1)
        if picture.alpha is not None:
            near(picture.alpha, eight(values[:, :, -1], white), 1 if reversible else 3)


def test_a_profile_in_jpeg_2000_is_kept():
    data = imagecodecs.jpeg2k_encode(RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8), level=0, codecformat="jp2")
    at = data.index(b"colr") - 4
    (length,) = struct.unpack_from(">I", data, at)
    box = struct.pack(">I4sBBB", 11 + len(SRGB), b"colr", 2, 0, 0) + SRGB
    changed = data[:at] + box + data[at + length :]
    header = changed.index(b"jp2h") - 4
    (size,) = struct.unpack_from(">I", changed, header)
    changed = changed[:header] + struct.pack(">I", size + len(box) - length) + changed[header + 4 :]
    assert quietly(changed).icc == SRGB
