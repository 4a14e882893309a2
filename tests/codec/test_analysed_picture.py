"""Pictures that are analysed once: their files are those of ``Codec.encode``, whatever has changed in between."""

import io
import itertools
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import make_photo
from PIL import Image

import promptcodec
from promptcodec.bitstream.container import unpack
from promptcodec.codec import picture_encoder
from promptcodec.codec.search import Target
from promptcodec.errors import ImageError, TargetError, UsageError, VerificationError
from promptcodec.model.inference.backend import TorchBackend
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.pyramid import Pyramid, look, region

CONFORMANCE = Path(__file__).parents[1] / "conformance"
PHOTO = make_photo(70, 100)


@pytest.fixture
def analyses(monkeypatch):
    """Grows with every analysis."""
    calls, original = [], TorchBackend.analyse
    monkeypatch.setattr(TorchBackend, "analyse", lambda *given: calls.append(1) or original(*given))
    return calls


@pytest.fixture(scope="module")
def paths(tmp_path_factory, codec) -> dict[str, Path]:
    """Untrained adapters with an encoder half, on the shipped model."""
    torch.manual_seed(0)
    base, folder = codec.backend.network.config, tmp_path_factory.mktemp("adapters")
    adapters = {
        "look": look(base), "region": region(base), "rate": Pyramid(base, "rate", scalars=("rate",), decoder=False),
        "channels": ChannelSelection(base),
    }  # fmt: skip
    for parameter in (p for name in ("look", "region", "rate") for p in adapters[name].parameters()):
        parameter.data *= 4  # so that a fresh one moves symbols
    for name, adapter in adapters.items():
        save_adapter(adapter, codec.backend.network, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in adapters}


@pytest.mark.parametrize("name", ["tiny", "tiny-causal", "tiny-contextual-mean", "tiny-space-channel"])
def test_every_kind_of_model(name, analyses):
    codec = promptcodec.load(CONFORMANCE / f"{name}.safetensors")
    rates = (0, 35.5, 100) if codec.config.gain is not None else (None,)
    picture = codec.analysed(PHOTO)
    again = [picture.encode(quality) for quality in rates]
    assert len(analyses) == 1
    assert again == [codec.encode(PHOTO, quality) for quality in rates]


def test_quality_target_look_and_back(codec, photo, analyses):
    picture = codec.analysed(photo)
    kinds = [
        {"quality": 20}, {"look": 1}, {"settings": {"look": 0.25}, "quality": 90}, {"target": Target("size", 3000)},
        {"target": Target("psnr", 26)}, {"target": Target("ssimulacra2", 0.5)},
        {"verify": True, "source_hash": b"8bytes!!"},
        {"preview": True, "quality": 3}, {"preview": True, "quality": 60}, {},
    ]  # fmt: skip
    files = [picture.encode(**kind) for kind in kinds]
    assert len(analyses) == 2  # of the picture and of its preview
    assert files == [codec.encode(photo, **kind) for kind in kinds]
    assert len(set(files)) == len(files)


def test_regions(codec, photo, analyses):
    """A region of the package's adapters acts behind the analysis, so that even a new one takes none."""
    mask = make_photo(40, 50)[:, :, 0]
    plain = codec.analysed(photo)
    inside = plain.with_maps("20,30,64,64")
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "PNG")
    painted = inside.with_maps(file)  # which can be read once only
    files = [p.encode(40, look=value) for p, value in itertools.product((plain, inside, painted), (None, 0.5))]
    assert len(analyses) == 1
    expected = [
        codec.encode(photo, 40, look=value, roi=roi)
        for roi, value in itertools.product((None, "20,30,64,64", mask), (None, 0.5))
    ]
    assert files == expected
    assert codec.analysed(photo, roi=mask, look=0.5).encode(40) == expected[-1]
    assert painted.with_maps(maps={"roi": "20,30,64,64"}).encode(40) == expected[2]
    assert painted.with_maps().encode(40) == expected[0]
    mask[:] = 0  # what was analysed does not change with its source
    assert painted.encode(40) == expected[4]


def test_what_acts_in_the_analysis_makes_it_anew(codec, paths, photo, analyses):
    """Adapters with an encoder half, by setting and by map, and one that masks: two analyses a change, at most."""
    every = [paths[name] for name in ("rate", "look", "region", "channels")]
    first, second = "0,0,100,100", "90,30,64,64"
    picture = codec.analysed(photo, adapters=every, settings={"rate": 0.2, "look": 0}, roi=first)
    moved = picture.with_maps(second)
    assert len(analyses) == 2
    wanted = [(picture, first, 0.2, 0), (picture, first, 0.9, 0), (picture, first, 0.9, 1), (moved, second, 0.2, 0)]
    files = [one.encode(30, settings={"rate": rate}, look=value) for one, _, rate, value in wanted]
    assert len(analyses) == 4
    expected = [
        codec.encode(photo, 30, adapters=every, settings={"rate": rate}, look=value, roi=roi)
        for _, roi, rate, value in wanted
    ]
    assert files == expected
    assert len(set(expected)) == 4
    assert picture.encode(30, target=None) == expected[0]  # the settings that it was analysed with


def test_which_adapters_act_in_the_analysis(codec):
    base = codec.config
    assert look(base).encodes
    assert region(base).encodes
    assert ChannelSelection(base).encodes
    assert not look(base, decoder_only=True).encodes
    assert not any(stored.adapter.encodes for stored in codec.adapters.files.shipped)
    assert not Adapter(base).encodes


def test_tiles(codec, photo, analyses, monkeypatch):
    monkeypatch.setattr(picture_encoder, "tile_size", lambda *_: (256, 256))
    large = np.asarray(Image.fromarray(photo).resize((500, 300)))
    told = []
    picture = codec.analysed(large, roi="100,100,300,80", progress=lambda *both: told.append(both))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    files = [picture.encode(quality, progress=lambda *both: told.append(both)) for quality in (20, 80)]
    assert told[4:] == [(4, 4), (4, 4)]
    assert len(analyses) == 5  # four tiles and a preview
    assert files == [codec.encode(large, quality, roi="100,100,300,80") for quality in (20, 80)]
    assert len(unpack(files[0]).tiles) == 4


def test_sources_with_more_than_colours(codec, photo, tmp_path):
    """Grey, alpha, 16 bits a sample and metadata: all is read once, and in every file."""
    exif = Image.Exif()
    exif[0x010E] = "a description"
    alpha = np.add.outer(np.arange(photo.shape[0]), np.arange(photo.shape[1])).astype(np.uint8)
    images = {
        "grey": Image.fromarray(photo[:, :, 0]), "alpha": Image.fromarray(np.dstack([photo, alpha])),
        "deep": Image.fromarray(photo[:, :, 0].astype(np.uint16) * 256 + 99),
    }  # fmt: skip
    for name, image in images.items():
        image.save(tmp_path / f"{name}.png", exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 16 bits are reduced to 8
            picture = codec.analysed(tmp_path / f"{name}.png")
            for options in ({"quality": 30}, {"quality": 70, "strip": True}, {"target": Target("bpp", 1)}):
                assert picture.encode(**options) == codec.encode(tmp_path / f"{name}.png", **options)
        assert picture.picture.exif


@pytest.mark.parametrize("name", ["nano", "tiny-contextual-mean"])
def test_the_decoded_picture_is_that_of_the_file(name, photo, monkeypatch):
    """With and without a target, a look, tiles and alpha: what is at hand is what a decoder finds."""
    codec = promptcodec.load(name if name == "nano" else CONFORMANCE / f"{name}.safetensors")
    alpha = np.dstack([photo, photo[:, :, :1]])
    kinds = [{"quality": 40}, {"target": Target("psnr", 26)}, {"look": 0.7}] if name == "nano" else [{}]
    for source, kind in itertools.product((photo, alpha), kinds):
        data, picture = codec.analysed(source).encode_and_decode(**kind)
        assert data == codec.encode(source, **kind)
        decoded = codec.decode_picture(data)
        assert (picture.rgb == decoded.rgb).all()
        assert (picture.alpha == decoded.alpha).all() if source is alpha else picture.alpha is None
    monkeypatch.setattr(picture_encoder, "tile_size", lambda *_: (256, 256))
    large = np.asarray(Image.fromarray(photo).resize((400, 300)))
    data, picture = codec.analysed(large).encode_and_decode()
    assert (picture.rgb == codec.decode_picture(data).rgb).all()


def test_an_effort_is_a_plain_encode(codec, photo):
    picture = codec.analysed(photo)
    for options in ({"quality": 40}, {"target": Target("size", 3000)}):
        assert picture.encode(effort=1, **options) == codec.encode(photo, effort=1, **options)
    assert picture.encode(40) == codec.encode(photo, 40)


def test_memory(codec, photo):
    """Of the arrays that are alive: pixels, 320 + 64 / 16 channels over 256 pixels, the map, a preview."""
    picture = codec.analysed(photo)
    config, places = codec.config, (192 // 16) * (256 // 16)
    latents = 4 * places * (config.latent_channels + config.hyper_channels // 16)
    assert picture.nbytes == photo.nbytes + latents
    picture.encode(preview=True)
    assert picture.nbytes == photo.nbytes + 2 * latents  # the picture is no larger than a preview
    assert picture.with_maps("0,0,9,9").nbytes == picture.nbytes + 4 * photo[:, :, 0].size


def test_warnings_point_to_the_caller(codec, photo):
    drawing = np.full((256, 256, 3), 255, np.uint8)
    drawing[::16] = 0
    picture = codec.analysed(drawing)
    for call in (lambda: picture.encode(90), lambda: picture.encode(90), lambda: codec.encode(drawing, 90)):
        with pytest.warns(UserWarning, match="lossless PNG") as caught:
            call()
        assert caught[0].filename == __file__
    small = np.full((1, 1, 3), (100, 37, 200), np.uint8)  # whose quality goes by leaps
    for call in (codec.analysed(small).encode, lambda **options: codec.encode(small, **options)):
        with pytest.warns(UserWarning, match="the closest that this picture comes") as caught:
            call(target=Target("psnr", 33))
        assert {warning.filename for warning in caught} == {__file__}
    with pytest.warns(UserWarning, match="are too few for nano") as caught:
        codec.encode(photo, memory=1)
    assert caught[0].filename == __file__


def test_errors(codec, photo, monkeypatch):
    picture = codec.analysed(photo)
    with pytest.raises(TargetError, match="out of range"):
        picture.encode(target=Target("size", 50))
    with pytest.raises(UsageError, match="exclude"):
        picture.encode(50, target=Target("size", 3000))
    with pytest.raises(UsageError, match="no adapter takes 'lok'"):
        picture.encode(settings={"lok": 1})
    with pytest.raises(UsageError, match="look is given twice"):
        picture.encode(settings={"look": 1}, look=1)
    with pytest.raises(UsageError, match="outside the picture"):
        picture.with_maps("999,0,9,9")
    with pytest.raises(ImageError, match="neither x,y,w,h"):
        codec.analysed(photo, roi="nowhere.png")
    assert picture.encode(30) == codec.encode(photo, 30)  # which none of this has spoilt
    honest = picture_encoder.pack
    monkeypatch.setattr(picture_encoder, "pack", lambda file: honest(file)[:-9] + bytes(9))
    with pytest.raises(VerificationError):
        picture.encode(30, verify=True)


def test_several_threads(codec, paths, photo):
    """Of one picture, whose analysis changes with what each thread asks for."""
    picture = codec.analysed(photo, adapters=[paths["rate"]], settings={"rate": 0})
    expected = [codec.encode(photo, 30, adapters=[paths["rate"]], settings={"rate": i / 5}) for i in range(6)]
    results = [[] for _ in expected]

    def work(i):
        results[i] += [picture.encode(30, settings={"rate": i / 5}) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(expected))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[data] * 3 for data in expected]
