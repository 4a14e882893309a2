"""File objects as callers have them: in text mode, closed, that cannot be sought in, that give a little at a time."""

import io
import os
import tempfile
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

import promptcodec
from promptcodec.errors import ReportingWarning, UsageError
from promptcodec.picture import read as picture_io

ENTRANCES = {
    "encode": promptcodec.encode, "decode": promptcodec.decode, "info": promptcodec.info, "preview": promptcodec.preview
}  # fmt: skip


@pytest.fixture(scope="module")
def png(photo):
    file = io.BytesIO()
    Image.fromarray(photo[:48, :64]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def coded(codec, png):
    return codec.encode(png, 30)


class Reads:
    """Nothing but ``read``."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, *count):
        return self._file.read(*count)


class ReadsAll(Reads):
    """Nothing but ``read()``."""

    def read(self):
        return self._file.read()


class ReadsLittle(Reads):
    """As sockets do."""

    def read(self, count=-1):
        return self._file.read(min(count, 5) if count >= 0 else 7)


@pytest.mark.parametrize("name", ENTRANCES)
def test_text_is_refused_with_a_sentence(name, tmp_path, png):
    (tmp_path / "x").write_bytes(png)
    with (tmp_path / "x").open(encoding="utf-8") as file, pytest.raises(UsageError, match="'rb'"):
        ENTRANCES[name](file)
    with pytest.raises(UsageError, match="'rb'"):
        ENTRANCES[name](io.StringIO("text"))
    with tempfile.NamedTemporaryFile("w+") as file, pytest.raises(UsageError, match="'rb'"):
        ENTRANCES[name](file)


@pytest.mark.parametrize("name", ENTRANCES)
def test_closed_files_and_those_for_writing_are_refused_with_a_sentence(name, tmp_path):
    with (tmp_path / "x").open("wb") as file, pytest.raises(UsageError, match="for reading"):
        ENTRANCES[name](file)
    with pytest.raises(UsageError, match="closed"):
        ENTRANCES[name](file)
    with pytest.raises(UsageError, match="found int"):
        ENTRANCES[name](5)


@pytest.mark.parametrize("kind", [Reads, ReadsAll, ReadsLittle])
def test_files_without_seek(kind, png, coded, photo):
    assert np.array_equal(picture_io.read(kind(png)).rgb, photo[:48, :64])
    if kind is not ReadsAll:
        assert promptcodec.info(kind(coded)).bytes == len(coded)
    assert np.array_equal(np.asarray(promptcodec.decode(kind(coded))), np.asarray(promptcodec.decode(coded)))


@pytest.mark.parametrize("buffering", [0, -1])
def test_pipes(buffering, png, coded):
    def piped(data):
        reading, writing = os.pipe()

        def feed():
            with open(writing, "wb", buffering=0) as file:  # noqa: PTH123
                for start in range(0, len(data), 999):
                    file.write(data[start : start + 999])

        threading.Thread(target=feed, daemon=True).start()
        return open(reading, "rb", buffering=buffering)  # noqa: PTH123

    with piped(png) as file:
        assert picture_io.read(file).rgb.shape == (48, 64, 3)
    with piped(coded) as file:
        assert promptcodec.info(file).bytes == len(coded)


def test_what_would_have_to_wait_says_so():
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with open(reading, "rb", buffering=0) as file, pytest.raises(UsageError, match="blocking"):  # noqa: PTH123
        promptcodec.info(file)
    os.close(writing)


def test_xmp_as_text_under_the_pillow_plugin(tmp_path, photo):
    import promptcodec.pillow  # noqa: F401

    exif = Image.Exif()
    exif[315] = "somebody"
    image = Image.fromarray(photo[:48, :64])
    text = "<x:xmpmeta xmlns:x='adobe:ns:meta/'>é</x:xmpmeta>"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image.save(tmp_path / "x.ptc", xmp=text, exif=exif)
    with Image.open(tmp_path / "x.ptc") as stored:
        assert stored.info["xmp"] == text.encode()
        assert stored.getexif()[315] == "somebody"


@pytest.mark.parametrize("options", [{}, {"pixel_format": "DXT1"}, {"pixel_format": "BC3"}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_dds_files(photo, mode, options):
    """Their decoders' arguments are tuples in tuples."""
    file = io.BytesIO()
    image = Image.fromarray(photo[:48, :64]).convert(mode)
    if options and mode == "RGB":
        image = image.convert("RGBA")
    image.save(file, "DDS", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = picture_io.read(file.getvalue())
    assert np.abs(picture.rgb.astype(int) - photo[:48, :64]).mean() < (20 if options else 0.1)


def test_a_check_that_only_warns_cannot_refuse_a_picture(png, monkeypatch):
    monkeypatch.setattr(picture_io, "lost_pictures", lambda image: 1 / 0)
    assert picture_io.read(png).rgb.shape == (48, 64, 3)


def test_comparing_with_png_cannot_refuse_a_picture(codec, png, monkeypatch):
    monkeypatch.setattr("promptcodec.codec.picture_encoder.lossless_size", lambda *_: 1 / 0)
    with pytest.warns(ReportingWarning):
        assert promptcodec.info(codec.encode(png)).width == 64
