"""Whole files, damaged and decoded: an error for people or a picture, never a crash; half with repaired CRCs."""

import time

import numpy as np
import pytest
from chunks import repaired
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from promptcodec.bitstream import container
from promptcodec.errors import PromptcodecError


@pytest.fixture(scope="module")
def sound_files(codec, photo):
    """Small files of every kind: plain, grey, with alpha, with metadata."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    rich = Image.fromarray(photo[:64, :96])
    rich.info |= {"exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    alpha = np.dstack([photo[:48, :40], photo[:48, :40, :1]])
    return [codec.encode(source, 30) for source in (photo[:80, :70], photo[:33, :50, 0], alpha, rich)]


def damaged(data, rng, other):
    """A few flips, cuts and splices; near the front as often as anywhere."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(min(len(changed), rng.choice([8, 60, len(changed)])) or 1))
        kind = rng.integers(4)
        if kind == 0:
            changed[at : at + 1] = bytes([changed[at] ^ 1 << int(rng.integers(8))]) if at < len(changed) else b""
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 20))]
        elif kind == 2:
            start = int(rng.integers(len(other)))
            changed[at:at] = other[start : start + int(rng.integers(1, 40))]
        else:
            del changed[at:]
    return bytes(changed)


@settings(max_examples=2000)
@given(seed=st.integers(0, 2**32), repair=st.booleans())
def test_damage_through_the_whole_decoder(codec, sound_files, seed, repair):
    rng = np.random.default_rng(seed)
    first, second = (sound_files[i] for i in rng.integers(len(sound_files), size=2))
    data = damaged(first, rng, second)
    if repair:
        data = repaired(data)
    start = time.process_time()
    try:
        picture = codec.decode_picture(data)
    except PromptcodecError as error:
        assert "\n" not in str(error)
    else:  # only what does not decide a pixel may have changed
        found = container.unpack(data).header
        assert picture.rgb.shape == (found.height, found.width, 3)
    assert time.process_time() - start < 5
