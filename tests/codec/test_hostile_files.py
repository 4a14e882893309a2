"""Files made to do harm: refused by their header or their length, before a network runs and memory is taken."""

import time
import tracemalloc

import numpy as np
import pytest
import torch

from promptcodec.bitstream.container import pack, unpack
from promptcodec.bitstream.contents import Header, Metadata, PtcFile, Tile
from promptcodec.codec import decoder
from promptcodec.errors import FormatError, LimitError


@pytest.fixture
def no_network(codec, monkeypatch):
    """The codec, with networks that must not run, on a machine of endless memory."""

    def forbidden(*_):
        raise AssertionError("a network ran")

    monkeypatch.setattr(decoder, "check_memory", lambda *_: None)
    monkeypatch.setattr(codec.coder.hyper.synthesis, "forward", forbidden)
    monkeypatch.setattr(codec.backend.network.g_s, "forward", forbidden)
    return codec


def claims(codec, width, height, stream=b"\0" + bytes(range(1, 13)), alpha=None):
    """A short file with a true fingerprint and correct CRCs."""
    header = Header(width, height, codec.backend.probability, codec.backend.pixels, 0, alpha=alpha is not None)
    return pack(PtcFile(header, (Tile(0, b"\0", stream),), Metadata(alpha=alpha)))


def cost(work):
    """Seconds and bytes that ``work`` takes, and what it raises."""
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises((FormatError, LimitError)) as caught:
        work()
    spent, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return spent, peak, caught.value


def test_sixty_bytes_that_claim_the_largest_picture(no_network):
    data = claims(no_network, 2**14, 2**14)
    assert len(data) <= 60 + 4
    seconds, peak, error = cost(lambda: no_network.decode(data))
    assert "the stream ends early" in str(error)
    assert seconds < 2
    assert peak < 2**28  # a byte for every pixel claimed; decoding takes two hundred


def test_they_are_refused_by_their_header_where_memory_is_short(codec, monkeypatch):
    monkeypatch.setattr("promptcodec.codec.budget.available_bytes", lambda: 2**33)
    seconds, peak, error = cost(lambda: codec.decode(claims(codec, 2**14, 2**14)))
    assert "GiB of memory" in str(error)
    assert (seconds < 0.5, peak < 2**20) == (True, True)


def test_a_limit_for_strangers(no_network):
    for size in ((1001, 1000), (2**14, 2**14)):
        seconds, peak, error = cost(lambda size=size: no_network.decode(claims(no_network, *size), max_pixels=10**6))
        assert isinstance(error, LimitError)
        assert (seconds < 0.1, peak < 2**20) == (True, True)


def test_streams_too_short_for_their_symbols(no_network):
    """A stream of a sound file under a larger header."""
    rng = np.random.default_rng(0)
    data = claims(no_network, 640, 640, b"\0" + rng.integers(1, 255, 400, np.uint8).tobytes())
    _, _, error = cost(lambda: no_network.decode(data))
    assert "stream" in str(error)


def altered_decode(codec, data, monkeypatch, change):
    """Decode ``data`` on a machine whose hyper synthesis gives other numbers."""
    clean = codec.coder.hyper.synthesis.forward
    monkeypatch.setattr(codec.coder.hyper.synthesis, "forward", lambda *args: change(clean(*args)))
    monkeypatch.setattr(
        codec.backend.network.g_s, "forward", lambda *_: pytest.fail("latents that are wrong were made into a picture")
    )
    return cost(lambda: codec.decode(data))[2]


@pytest.mark.parametrize("shift", [1 / 256, 0.02, -3.0])
def test_latents_that_decode_differently_are_never_shown(codec, photo, monkeypatch, shift):
    """Means off by a grid step: every symbol decodes, the coder ends where it should, and only the checksum tells."""
    data = codec.encode(photo, 30)
    latent = codec.backend.network.config.latent_channels

    def means_moved(hyper):
        return torch.cat([hyper[:, :latent], hyper[:, latent:] + shift], 1)

    error = altered_decode(codec, data, monkeypatch, means_moved)
    assert "do not have the checksum in the file" in str(error)
    assert "whose arithmetic this one cannot follow" in str(error)


def test_scales_that_come_out_differently_are_never_shown(codec, photo, monkeypatch):
    data = codec.encode(photo, 30)
    error = altered_decode(codec, data, monkeypatch, lambda hyper: hyper + 0.05)
    assert "stream" in str(error) or "checksum" in str(error) or "escaped symbol" in str(error)


def test_verify_says_so_too(codec, photo):
    data = codec.encode(photo, 30)
    file = unpack(data)
    tile = file.tiles[0]
    other = pack(PtcFile(file.header, (Tile(tile.checksum ^ 1, tile.offsets, tile.stream),), file.metadata))
    with pytest.raises(FormatError, match="checksum"):
        codec.verify(other)
    codec.verify(data)
