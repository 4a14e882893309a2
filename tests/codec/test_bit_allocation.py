"""Where the bits of a file go, by the tables that coded it."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pictures import make_photo

import promptcodec
from promptcodec.bitstream.container import PtcReader, pack, unpack
from promptcodec.codec import picture_encoder
from promptcodec.errors import FormatError, ModelMismatchError

CONFORMANCE = Path(__file__).parents[1] / "conformance"


def coded_bits(data):
    """Of the streams of all tiles, border offsets and chunks aside."""
    return 8 * sum(len(tile.stream) for tile in unpack(data).tiles)


@pytest.mark.parametrize("name", ["tiny", "tiny-causal", "tiny-contextual-mean", "tiny-space-channel"])
@pytest.mark.parametrize("size", [(64, 128), (70, 100), (1, 1)])
def test_all_bits_are_somewhere(name, size):
    codec = promptcodec.load(CONFORMANCE / f"{name}.safetensors")
    data = codec.encode(make_photo(*size))
    bits = codec.bit_allocation(data)
    assert bits.shape == tuple(-(-side // 16) for side in size)
    assert (bits > 0).all()
    # The coder's state, a length, rounding to words; and escaped symbols, of which these networks make some.
    assert bits.sum() - 1 < coded_bits(data) < 1.015 * bits.sum() + 72


def test_bits_go_where_there_is_detail(codec):
    picture = np.full((256, 384, 3), 120, np.uint8)
    picture[64:128, 192:320] = make_photo(64, 128)
    data = codec.encode(picture, 60)
    bits = codec.bit_allocation(data)
    inside = bits[4:8, 12:20]
    assert inside.sum() > 0.7 * bits.sum()  # in a twelfth of the picture
    assert inside.min() > 5 * np.median(bits)
    assert coded_bits(data) == pytest.approx(bits.sum(), rel=0.01, abs=72)


def test_a_region_draws_bits(codec, photo):
    plain = codec.bit_allocation(codec.encode(photo, 40))
    moved = codec.bit_allocation(codec.encode(photo, 40, roi="32,32,64,64"))
    share = [bits[2:6, 2:6].sum() / bits.sum() for bits in (plain, moved)]
    assert share[1] > 1.2 * share[0]


def test_tiles_have_their_places(codec, monkeypatch):
    picture = make_photo(300, 500)
    whole = codec.bit_allocation(codec.encode(picture, 40))
    monkeypatch.setattr(picture_encoder, "tile_size", lambda *_: (256, 256))
    data = codec.encode(picture, 40)
    bits = codec.bit_allocation(PtcReader(io.BytesIO(data)))
    assert bits.shape == (19, 32)
    assert coded_bits(data) == pytest.approx(bits.sum(), rel=0.01, abs=4 * 72)
    assert np.corrcoef(bits[:18].ravel(), whole[:18].ravel())[0, 1] > 0.95


def test_damage_is_an_error(codec, older, photo):
    data = codec.encode(photo, 30)
    file = unpack(data)
    stream = bytearray(file.tiles[0].stream)
    stream[len(stream) // 2] ^= 1
    with pytest.raises(FormatError):
        codec.bit_allocation(pack(replace(file, tiles=(replace(file.tiles[0], stream=bytes(stream)),))))
    with pytest.raises(ModelMismatchError):
        promptcodec.load("older").bit_allocation(data)
