"""Encodes that decode what they made before they hand it out."""

import dataclasses
from pathlib import Path

import pytest
from pictures import make_photo

import promptcodec
from promptcodec.bitstream.container import pack, unpack
from promptcodec.codec.codec import Codec
from promptcodec.codec.latents import LatentCoder
from promptcodec.codec.one_shot import SymbolCoder
from promptcodec.codec.picture_encoder import PictureEncoder
from promptcodec.errors import VerificationError

CONFORMANCE = Path(__file__).parents[1] / "conformance"
PHOTO = make_photo(70, 100)


@pytest.fixture(params=["tiny", "tiny-contextual-mean"])
def tiny(request) -> Codec:
    return promptcodec.load(CONFORMANCE / f"{request.param}.safetensors")


def test_a_verified_file_is_the_same_file(tiny):
    for given in ({}, {"preview": True}, {"effort": 1}):
        assert tiny.encode(PHOTO, verify=True, **given) == tiny.encode(PHOTO, **given)


def flipped(latents):
    """The symbols of y, the first of them another one, with the checksum of what was meant."""
    *before, (symbols, bins, tables) = latents.steps
    symbols = symbols.copy()
    symbols[0] += 1
    return dataclasses.replace(latents, steps=(*before, (symbols, bins, tables)))


def test_another_integer_than_was_meant_is_found(tiny, monkeypatch):
    kind = SymbolCoder if hasattr(tiny.coder, "symbols") else LatentCoder
    honest = kind.quantise
    monkeypatch.setattr(kind, "quantise", lambda *given, **options: flipped(honest(*given, **options)))
    assert tiny.encode(PHOTO)  # nobody looks
    with pytest.raises(VerificationError, match="does not decode to what was encoded"):
        tiny.encode(PHOTO, verify=True)


def test_the_whole_file_is_read_not_what_it_was_made_of(tiny, monkeypatch):
    """A container that loses something, in a file with adapters too."""

    def careless(file):
        data = pack(file)
        return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]

    monkeypatch.setattr("promptcodec.codec.picture_encoder.pack", careless)
    with pytest.raises(VerificationError):
        tiny.encode(PHOTO, verify=True)
    with pytest.raises(VerificationError):
        promptcodec.encode(PHOTO, 30, roi="0,0,40,40", verify=True)


def test_targets_and_adapters_are_verified(monkeypatch):
    seen = []
    honest = PictureEncoder._verify
    monkeypatch.setattr(
        PictureEncoder, "_verify", lambda self, data, request: seen.append(data) or honest(self, data, request)
    )
    data = promptcodec.encode(PHOTO, target_size=700, verify=True)
    assert seen == [data]  # of all that were tried the one that is handed out
    data = promptcodec.encode(PHOTO, 30, roi="0,0,40,40", verify=True)
    assert unpack(data).adapters
    assert seen[1:] == [data]
