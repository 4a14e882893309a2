"""Files that need adapters: what they record, what a decoder refuses, and what it may set anew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import make_photo
from PIL import Image
from torch import nn
from with_adapters import WithAdapters

import promptcodec
from promptcodec.bitstream.container import ADAPTERS, pack, unpack
from promptcodec.bitstream.contents import AdapterRecord, Header, PtcFile, Tile
from promptcodec.codec.search import Target
from promptcodec.errors import FormatError, ImageError, ModelMismatchError, UsageError
from promptcodec.model.effort import Effort
from promptcodec.model.steering import Affine, BlockSteer, Decoded, Site, Steering
from promptcodec.quality.psnr import psnr
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.adapter_file import StoredAdapter, save_adapter
from promptcodec.steer.controls import Controls, region_map
from promptcodec.steer.methods.channels import ChannelSelection
from promptcodec.steer.methods.gain_units import GainUnits
from promptcodec.steer.methods.pyramid import Pyramid, look, region
from promptcodec.steer.methods.quantisation_step import QuantisationStep

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "photo.jpg"


class HyperShift(Adapter, kind="test-hyper-shift"):
    """Shifts the hyper synthesis by a signalled amount: decides probabilities."""

    signals = ("amount",)

    def __init__(self, base, name=""):
        super().__init__(base, name)
        self.weight = nn.Parameter(torch.randn(128))

    def for_entropy(self, decoded: Decoded, signalled: Controls) -> Steering:
        shift = (0.1 * signalled.scalar("amount").to(self.weight) * self.weight)[None, :, None, None]
        return Steering({Site("h_s", 0): BlockSteer(outputs=(Affine(shift=shift),))})


@pytest.fixture(scope="module")
def paths(tmp_path_factory, codec) -> dict[str, Path]:
    """Untrained adapters on the shipped model."""
    torch.manual_seed(0)
    base, folder = codec.backend.network.config, tmp_path_factory.mktemp("adapters")
    units = GainUnits(base)
    nn.init.uniform_(units.y, 0.5, 2.0)
    units.y_inverse.data = 1 / units.y.data
    adapters = {
        "look": look(base, decoder_only=True),
        "both": look(base, name="both"),
        "region": region(base),
        "gain": units,
        "hyper": HyperShift(base),
        "channels": ChannelSelection(base),
        "step": QuantisationStep(base),
    }
    for parameter in adapters["region"].parameters():
        parameter.data *= 4  # so that a fresh one moves symbols
    for name, adapter in adapters.items():
        save_adapter(adapter, codec.backend.network, folder / f"{name}.safetensors")
    return {name: folder / f"{name}.safetensors" for name in adapters}


def steered(codec, paths, *names) -> WithAdapters:
    return WithAdapters(codec, [paths[name] for name in names])


def test_one_file_decodes_to_any_look(codec, paths, photo):
    with_look = steered(codec, paths, "look")
    data = with_look.encode(photo, 40, settings={"look": 0.25})
    (record,) = unpack(data).adapters
    assert (record.name, len(record.signal)) == ("look", 2)
    assert promptcodec.info(data).adapters == ("look",)
    as_coded, again, other = (with_look.decode_picture(data, s).rgb for s in (None, {"look": 0.25}, {"look": 1.0}))
    assert (as_coded == again).all()
    assert (as_coded != other).any()
    assert len(data) - len(codec.encode(photo, 40)) < 32
    assert unpack(data).tiles == unpack(codec.encode(photo, 40)).tiles


def test_a_missing_adapter_is_named(codec, older, paths, photo):
    data = steered(codec, paths, "both").encode(photo, 40, settings={"look": 0.25})
    with pytest.raises(ModelMismatchError, match=r"needs adapter both \([0-9a-f]{16}\), which is not here .*; give"):
        promptcodec.decode(data)
    with pytest.raises(ModelMismatchError, match=r"needs adapter both .* \(here: look \("):
        steered(codec, paths, "look").decode_picture(data)
    with pytest.raises(UsageError, match="look of adapter both was fixed when the file was made"):
        steered(codec, paths, "both").decode_picture(data, {"look": 0.5})
    with pytest.raises(UsageError, match="no adapter of this file takes 'lok'"):
        steered(codec, paths, "both").decode_picture(data, {"lok": 0.5})
    with pytest.raises(UsageError, match=r"no adapter takes 'rate'; what can be set: .*look"):
        steered(codec, paths, "both").encode(photo, settings={"rate": 0.5})
    with pytest.raises(UsageError, match="needs a value for 'look'"):
        steered(codec, paths, "both").encode(photo)
    with pytest.raises(UsageError, match="no adapter takes a map 'care'"):
        steered(codec, paths, "both").encode(photo, maps={"care": "0,0,4,4"}, settings={"look": 0.5})
    with pytest.raises(UsageError, match="no adapter takes a region"):
        steered(promptcodec.load("older"), paths).encode(photo, roi="0,0,4,4")


def test_an_encoders_adapter_leaves_no_trace(codec, paths, photo):
    with_region = steered(codec, paths, "region", "channels")
    data = with_region.encode(photo, 40, roi="20,30,64,64")
    assert unpack(data).adapters == ()
    assert (np.asarray(promptcodec.decode(data)) == with_region.decode_picture(data).rgb).all()
    assert data != with_region.encode(photo, 40, roi="90,30,64,64")
    with pytest.raises(UsageError, match="needs a map 'roi'"):
        with_region.encode(photo)


@pytest.mark.parametrize("names", [("gain",), ("hyper",), ("step",), ("gain", "hyper", "region", "both", "step")])
def test_what_decides_probabilities_decodes(codec, paths, photo, names):
    values = {"gain": {"rate": 0.3}, "hyper": {"amount": 0.9}, "step": {"step": 0.6}, "both": {"look": 0.1}}
    settings = {k: v for name in names for k, v in values.get(name, {}).items()}
    with_all = steered(codec, paths, *names)
    data = with_all.encode(photo, 40, settings=settings, roi="0,0,50,50" if "region" in names else None)
    assert [a.name for a in unpack(data).adapters] == [n for n in map(_name, names) if n != "region"]
    picture = with_all.decode_picture(data)
    assert picture.rgb.shape == photo.shape
    reverse = steered(codec, paths, *reversed(names))  # the file says in which order they act
    assert (reverse.decode_picture(data).rgb == picture.rgb).all()
    assert unpack(data).tiles != unpack(codec.encode(photo, 40)).tiles


def _name(name: str) -> str:
    return {"gain": "gain-units", "hyper": "test-hyper-shift"}.get(name, name)


def test_functions(paths, photo, tmp_path):
    mask = np.zeros((16, 16), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    files = [paths["look"], paths["region"]]
    data = promptcodec.encode(photo, 30, adapters=files, settings={"look": 0.5}, roi=tmp_path / "mask.png")
    one, two = (promptcodec.decode(data, adapters=files[:1], settings={"look": v}) for v in (0.0, 1.0))
    assert (np.asarray(one) != np.asarray(two)).any()
    plain = promptcodec.encode(photo, 30)
    assert (np.asarray(promptcodec.decode(plain, adapters=files)) == np.asarray(promptcodec.decode(plain))).all()


def test_region_maps(tmp_path):
    assert region_map("2,1,3,9", 4, 6)[0, 0].tolist() == [[0] * 6] + [[0, 0, 1, 1, 1, 0]] * 3
    assert region_map("-2,-1,4,3", 3, 3)[0, 0].sum() == 4
    with pytest.raises(UsageError, match="outside the picture of 6 x 4"):
        region_map("6,0,3,3", 4, 6)
    with pytest.raises(ImageError, match="neither x,y,w,h, a number, nor a picture"):
        region_map(tmp_path / "none.png", 4, 6)
    with pytest.raises(UsageError, match="expected \\(1, 1, 4, 6\\)"):
        region_map(torch.zeros(1, 1, 6, 4), 4, 6)


def test_the_chunk_survives_no_damage():
    header, tiles = Header(64, 64, b"12345678", b"abcd", 0), (Tile(1, b"\0", b"xyz"),)
    records = (AdapterRecord("look", b"abcdefgh", b"\x01\x02"), AdapterRecord("Nähe", b"12345678"))
    data = pack(PtcFile(header, tiles, adapters=records))
    assert unpack(data).adapters == records
    for end in range(1, 40):
        with pytest.raises(FormatError):
            unpack(data[:-end])
    for name in ("", "x" * 101):
        with pytest.raises(FormatError, match="name of 1 to 100"):
            pack(PtcFile(header, tiles, adapters=(AdapterRecord(name, b"12345678"),)))
    from promptcodec.bitstream import container

    for payload in (
        b"",
        b"1234567",
        b"12345678\x05ab",
        b"12345678\x01\xff\x00",
        b"12345678\x00\x00",
        b"12345678\x01a\x09",
    ):
        chunk = container.chunk(ADAPTERS, payload)
        plain = pack(PtcFile(header, tiles))
        with pytest.raises(FormatError):
            unpack(_insert(plain, chunk))


def _insert(data: bytes, chunk: bytes) -> bytes:
    """``chunk`` after the header's."""
    from promptcodec.bitstream.container import one_chunk

    end = one_chunk(data, 5)[2]
    return data[:end] + chunk + data[end:]


def test_an_effort_with_adapters(codec, paths):
    rgb = np.asarray(Image.open(EXAMPLE).convert("RGB").resize((192, 128), Image.Resampling.LANCZOS))
    asked = {"adapters": ["step", paths["region"]], "settings": {"step": 0.6}, "roi": "0,0,64,64"}
    plain, data = (promptcodec.encode(rgb, 40, effort=effort, **asked) for effort in (0, 4))
    assert [a.name for a in unpack(data).adapters] == ["step"]
    assert data != plain
    assert promptcodec.decode(data, adapters=["step"]).size == (192, 128)
    assert promptcodec.decode(data) == promptcodec.decode(data, adapters=["step"])  # it needs no file to be found


def test_an_effort_chooses_the_step_of_its_trade_off(codec):
    """Far from the quality's own trade-off, a step that is not given brings a file nearer; one that is given stays."""
    rgb = np.asarray(Image.open(EXAMPLE).convert("RGB").resize((192, 128), Image.Resampling.LANCZOS))
    own = float(codec.backend.network.gain.rate_lambda(torch.tensor([0.6])))

    def made(rate_lambda: float, **settings: float) -> tuple[float, float]:
        """The step in the file, and the file's cost."""
        data = promptcodec.encode(rgb, 60, adapters=["step"], effort=Effort(1, rate_lambda), settings=settings)
        (record,) = unpack(data).adapters
        picture = np.asarray(promptcodec.decode(data, adapters=["step"])).astype(float)
        step = float(QuantisationStep(codec.backend.network.config).read(record.signal).scalar("step"))
        return step, rate_lambda * ((picture - rgb) ** 2).mean() + 8 * len(data) / (192 * 128)

    (coarse, cost), (fine, _) = made(own / 8), made(own * 8)
    assert fine < 0.5 < coarse < 1
    assert cost < 0.97 * made(own / 8, step=0.5)[1]
    assert made(own / 8, step=0.25)[0] == pytest.approx(0.25, abs=1e-4)


def test_a_model_of_one_rate_with_an_effort(tic, photo):
    """It measures its own trade-off, keeps its own step unless told another trade-off, and takes one that is given."""
    part = photo[:64, :64]
    steered = WithAdapters(tic, ["step"])
    for effort, data in (
        (1, tic.encode(part, effort=1)),
        (1, steered.encode(part, effort=1)),
        (2, tic.encode(part, effort=Effort(2, 0.01))),
        (2, steered.encode(part, effort=Effort(2, 0.01))),
    ):
        assert steered.decode_picture(data).rgb.shape == (64, 64, 3), effort
    (record,) = unpack(steered.encode(part, effort=1)).adapters
    step = QuantisationStep(tic.backend.network.config).read(record.signal).scalar("step")
    assert float(step) == pytest.approx(0.5, abs=1e-4)


def test_maps_by_name(codec, paths, photo, tmp_path):
    with_map = WithAdapters(
        codec, [StoredAdapter(Pyramid(codec.backend.network.config, maps=("care",), decoder=False), b"x")]
    )
    for parameter in with_map.adapters[0].adapter.parameters():
        parameter.data *= 4
    files = [with_map.encode(photo, 40, maps={"care": source}) for source in ("0", "1", "0,0,64,64", 1.0)]
    assert files[1] == files[3]
    assert len({files[0], files[1], files[2]}) == 3
    with pytest.raises(UsageError, match="no adapter takes a map 'roi2'"):
        with_map.encode(photo, maps={"care": "1", "roi2": "1"})
    with pytest.raises(UsageError, match=r"a map of 1.5 everywhere, expected a number in 0\.\.1"):
        with_map.encode(photo, maps={"care": "1.5"})


def test_rate_region_and_look_in_one_file(codec, paths, photo):
    """The file names the two that a decoder needs; whoever lacks one is told which; each acts beside the others."""
    names, asked = ("gain", "region", "both"), {"rate": 0.3, "look": 0.2}
    stack = steered(codec, paths, *names)
    data = stack.encode(photo, 40, settings=asked, roi="0,0,50,50")
    assert promptcodec.info(data).adapters == ("gain-units", "both")
    for present, missing in ((("gain",), "both"), (("both",), "gain-units"), ((), "gain-units")):
        with pytest.raises(ModelMismatchError, match=f"the file needs adapter {missing} "):
            steered(codec, paths, *present).decode_picture(data)
    picture = steered(codec, paths, "both", "gain").decode_picture(data).rgb
    changed = [
        stack.encode(photo, 40, settings=asked | {"rate": 0.9}, roi="0,0,50,50"),
        stack.encode(photo, 40, settings=asked | {"look": 0.9}, roi="0,0,50,50"),
        stack.encode(photo, 40, settings=asked, roi="100,80,50,50"),
    ]
    for other in changed:
        assert unpack(other).tiles != unpack(data).tiles
        assert (stack.decode_picture(other).rgb != picture).any()


def test_targets_with_adapters(codec, paths):
    picture = np.asarray(Image.open(EXAMPLE).convert("RGB"))[:256, :384]
    ours, asked = steered(codec, paths, "step"), {"settings": {"step": 0.6}}
    wanted = len(ours.encode(picture, 60, **asked))
    data = ours.encode(picture, target=Target("size", wanted), **asked)
    assert 0.99 * wanted <= len(data) <= wanted
    reached = psnr(picture, ours.decode_picture(data).rgb)
    data = ours.encode(
        picture, target=Target("psnr", reached - 0.5), **asked
    )  # which only a decoder with the step reaches
    assert reached - 0.5 <= psnr(picture, ours.decode_picture(data).rgb) <= reached - 0.3
    again = promptcodec.encode(picture, target_size=wanted, adapters=[paths["step"]], settings={"step": 0.6})
    assert 0.99 * wanted <= len(again) <= wanted


@pytest.mark.parametrize("names", [("look", "region", "gain"), ("both", "hyper", "channels"), ("step",)])
def test_adapters_and_tiles(codec, paths, names, monkeypatch):
    """Prompts, gains, masks and regions of every tile are its own; the decoder's see the halo as well."""
    monkeypatch.setattr("promptcodec.codec.picture_encoder.tile_size", lambda *_: (256, 256))
    picture, settings = make_photo(100, 300), {"look": 0.3, "rate": 0.6, "amount": 0.5, "step": 0.6}
    chosen = steered(codec, paths, *names)
    wanted = {k: v for k, v in settings.items() if k in {n for s in chosen.adapters for n in s.adapter.takes}}
    roi = "250,10,40,80" if "region" in names else None
    data = chosen.encode(picture, 40, settings=wanted, roi=roi)
    assert len(unpack(data).tiles) == 2
    assert chosen.decode_picture(data).rgb.shape == picture.shape
    chosen.verify(data)
    if roi:
        other = chosen.encode(picture, 40, settings=wanted, roi="0,10,40,80")
        assert unpack(other).tiles[1] != unpack(data).tiles[1]
