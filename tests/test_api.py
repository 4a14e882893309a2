"""The Python functions, and what importing costs."""

import io
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from pictures import make_photo
from PIL import Image

import promptcodec
from promptcodec.codec.codec import Codec
from promptcodec.errors import FormatError, LimitError, ModelMismatchError, PromptcodecError, UsageError
from promptcodec.quality.psnr import psnr


def test_round_trip_of_all_kinds(tmp_path, photo):
    image = Image.fromarray(photo)
    image.save(tmp_path / "a.png")
    reference = promptcodec.encode(photo, quality=60)
    for source in (image, tmp_path / "a.png", str(tmp_path / "a.png"), torch.from_numpy(photo).permute(2, 0, 1)):
        assert promptcodec.encode(source, quality=60) == reference
    (tmp_path / "a.ptc").write_bytes(reference)
    for file in (reference, tmp_path / "a.ptc", str(tmp_path / "a.ptc"), io.BytesIO(reference)):
        decoded = promptcodec.decode(file)
        assert decoded.mode == "RGB"
        assert psnr(photo, np.asarray(decoded)) > 24


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (17, 5), (64, 64), (65, 127), (3, 200)])
def test_any_size(size):
    grid = np.mgrid[0 : size[0], 0 : size[1]].sum(0) % 256
    picture = np.stack([grid, grid // 2, 255 - grid], axis=2).astype(np.uint8)
    decoded = np.asarray(promptcodec.decode(promptcodec.encode(picture, 80)))
    assert decoded.shape == picture.shape
    assert psnr(picture, decoded) > 22


def test_quality_is_continuous_and_monotone(photo):
    qualities = [0, 0.002, 20, 20.01, 50, 75, 99.99, 100]
    files = [promptcodec.encode(photo, q) for q in qualities]
    assert len(set(files)) == len(files)  # 16 bits of q: every step is another file
    picked = [files[i] for i in (0, 2, 4, 5, 7)]
    sizes = [len(f) for f in picked]
    quality = [psnr(photo, np.asarray(promptcodec.decode(f))) for f in picked]
    assert sizes == sorted(sizes)
    assert quality == sorted(quality)
    assert sizes[-1] > 4 * sizes[0]
    for bad in (-1, 100.5, float("nan")):
        with pytest.raises(UsageError, match="outside"):
            promptcodec.encode(photo, bad)


def test_grey_alpha_and_metadata_come_back(photo):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    alpha = np.zeros(photo.shape[:2], np.uint8)
    alpha[40:] = np.arange(photo.shape[1], dtype=np.uint8)
    for image in (Image.fromarray(photo[:, :, 0]), Image.fromarray(np.dstack([photo, alpha])),
                  Image.fromarray(np.dstack([photo[:, :, 0], alpha]), "LA")):  # fmt: skip
        file = io.BytesIO()
        image.save(file, "PNG", exif=exif)
        decoded = promptcodec.decode(promptcodec.encode(file.getvalue()))
        assert decoded.mode == image.mode
        assert decoded.getexif()[0x010E] == "a description"
        if "A" in image.mode:
            assert (np.asarray(decoded.getchannel("A")) == alpha).all()
        stripped = promptcodec.load().encode(file.getvalue(), strip=True)
        assert promptcodec.info(stripped).exif_bytes == 0
        assert promptcodec.info(stripped).mode == image.mode


def test_file_overhead(photo):
    from promptcodec.bitstream.container import unpack

    data = promptcodec.encode(photo)
    assert len(data) - len(unpack(data).tiles[0].stream) <= 44


def test_screenshots_are_warned_of():
    drawing = np.full((256, 256, 3), 255, np.uint8)
    drawing[::16] = 0
    with pytest.warns(UserWarning, match="lossless PNG"):
        promptcodec.encode(drawing, 90)


def test_errors(tmp_path, tic, photo):
    with pytest.raises(FormatError):
        promptcodec.decode(b"nonsense")
    with pytest.raises(ModelMismatchError, match="no-such"):
        promptcodec.load("no-such")
    with pytest.raises(UsageError, match="one rate"):
        tic.encode(photo, 50)
    with pytest.raises(ModelMismatchError, match="does not ship"):
        promptcodec.decode(tic.encode(photo))
    with pytest.raises(ModelMismatchError, match="made with model"):
        promptcodec.load().decode(tic.encode(photo))
    with pytest.raises(UsageError, match="device"):
        promptcodec.load(device="abacus")
    with pytest.raises(AttributeError):
        promptcodec.nonsense  # noqa: B018


def test_several_threads(photo):
    pictures = [np.roll(photo, 7 * i, axis=1) for i in range(8)]
    expected = [promptcodec.encode(p, 10 * i) for i, p in enumerate(pictures)]
    results = [None] * 8

    def work(i):
        data = promptcodec.encode(pictures[i], 10 * i)
        results[i] = data, np.asarray(promptcodec.decode(data))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert results[i][0] == expected[i]
        assert (results[i][1] == np.asarray(promptcodec.decode(expected[i]))).all()


def imported(statement):
    code = f"import sys; {statement}; print('torch' in sys.modules, 'numpy' in sys.modules)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_what_needs_no_torch(tmp_path, photo):
    path = tmp_path / "a.ptc"
    path.write_bytes(promptcodec.encode(photo))
    assert imported("import promptcodec") == ["False", "False"]
    assert imported(f"import promptcodec; promptcodec.info({str(path)!r})")[0] == "False"
    opening = f"import promptcodec.pillow; from PIL import Image; assert Image.open({str(path)!r}).size"
    assert imported(opening)[0] == "False"


def test_damaged_latents_are_errors(codec, photo):
    """Files whose CRCs are right and whose streams are not: an error, and no pixels."""
    from dataclasses import replace

    from promptcodec.bitstream.container import pack, unpack

    file = unpack(codec.encode(photo, 30))
    (tile,) = file.tiles
    rng = np.random.default_rng(0)
    for _ in range(25):
        stream = bytearray(tile.stream)
        kind = rng.integers(4)
        if kind == 0:
            stream[rng.integers(len(stream))] ^= 1 << rng.integers(8)
        elif kind == 1:
            del stream[rng.integers(len(stream)) :]
        elif kind == 2:
            stream[rng.integers(len(stream)) : rng.integers(len(stream))] = rng.bytes(8)
        header = file.header if kind != 3 else replace(
            file.header, width=int(rng.integers(1, 400)), height=int(rng.integers(1, 400)), q=int(rng.integers(65_536))
        )  # fmt: skip
        if bytes(stream) == tile.stream and header == file.header:
            continue
        with pytest.raises(PromptcodecError):
            codec.decode(pack(replace(file, header=header, tiles=(replace(tile, stream=bytes(stream)),))))


def test_a_large_claim_with_little_behind_it(codec, photo, monkeypatch):
    from dataclasses import replace

    from promptcodec.bitstream.container import pack, unpack

    monkeypatch.setattr("promptcodec.codec.budget.available_bytes", lambda: None)  # as where the system does not tell
    file = unpack(codec.encode(photo, 30))
    count = -(-(2**14 // 16) * (2**14 // 16) * 320 // 2**18)
    tile = replace(file.tiles[0], offsets=bytes(count))
    with pytest.raises(FormatError, match="ends early"):
        codec.decode(pack(replace(file, header=replace(file.header, width=2**14, height=2**14), tiles=(tile,))))


def test_what_does_not_fit_into_memory(codec, monkeypatch):
    photo = make_photo(1024, 768)
    data = codec.encode(photo)
    monkeypatch.setattr("promptcodec.codec.budget.available_bytes", lambda: 2**20)
    for call in (lambda: codec.encode(photo), lambda: codec.decode(data)):
        with pytest.raises(LimitError, match="768 x 1024 pixels needs more than"):
            call()


def test_the_class_is_public():
    assert promptcodec.Codec is Codec
