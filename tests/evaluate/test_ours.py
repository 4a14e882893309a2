"""promptcodec under test with adapters and what they are asked for."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import promptcodec
from promptcodec.errors import UsageError
from promptcodec.evaluate.codecs.registry import open_codec
from promptcodec.evaluate.data.datasets import find_pictures
from promptcodec.evaluate.judge import Judge
from promptcodec.evaluate.results import ResultsFile
from promptcodec.evaluate.runner import measure
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.pyramid import look, region


@pytest.fixture(scope="module")
def adapters(tmp_path_factory, codec):
    """Untrained adapters, made strong enough to move symbols."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapters")
    for adapter in (look(codec.backend.network.config), region(codec.backend.network.config)):
        for parameter in adapter.parameters():
            parameter.data *= 4
        save_adapter(adapter, codec.backend.network, folder / f"{adapter.name}.safetensors")
    return folder


def test_models_adapters_and_controls(adapters, photo):
    plain, steered = open_codec("promptcodec"), open_codec(f"promptcodec:nano+{adapters}/look.safetensors@look=0.25")
    assert steered.name == "promptcodec:nano+look@look=0.25"
    assert steered.options["controls"] == {"look": 0.25}
    assert plain.key(50) != steered.key(50)
    data = steered.encode(photo, 50)
    assert steered.decode(data).shape == photo.shape
    other = open_codec(f"promptcodec+{adapters}/look.safetensors@look=1")
    assert (other.decode(other.encode(photo, 50)) != steered.decode(data)).any()
    assert set(steered.phases) == {"synthesis", "decode file and latents"}
    for wrong in ("promptcodec@look=1", "promptcodec:nano@look", "promptcodec+x@=1", "promptcodecs"):
        with pytest.raises(UsageError):
            open_codec(wrong)
    with pytest.raises(UsageError):
        open_codec(f"promptcodec+{adapters}/look.safetensors@size=1").encode(photo, 50)


def test_an_effort(photo):
    plain, refined = open_codec("promptcodec"), open_codec("promptcodec:nano@effort=2")
    assert refined.name == "promptcodec:nano@effort=2"
    assert plain.key(50) != refined.key(50)
    small = photo[:64, :64]
    data = refined.encode(small, 50)
    assert data == promptcodec.encode(small, 50, effort=2) != plain.encode(small, 50)
    assert refined.decode(data).shape == small.shape
    region = open_codec("promptcodec:nano+region@background=0.5&effort=1")
    region.use_mask(np.full((64, 64), 255, np.uint8))
    assert region.decode(region.encode(small, 50)).shape == small.shape
    for wrong in ("promptcodec@effort=1.5", "promptcodec@effort=-1", "promptcodec@effort=2&look=1"):
        with pytest.raises(UsageError):
            open_codec(wrong)


def test_the_mask_steers(adapters, tmp_path, photo):
    folder = tmp_path / "masks"
    folder.mkdir()
    for name in "ab":
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[:, : 80 if name == "a" else 0] = 255
        Image.fromarray(mask).save(folder / f"{name}.png")
    pictures = find_pictures([tmp_path])
    codec = open_codec(f"promptcodec:nano+{adapters}/region.safetensors")
    masks = {path: folder / path.name for path in pictures}
    judge = Judge(["psnr_inside"])
    results = ResultsFile(tmp_path / "r")
    (first,) = measure(pictures[:1], [(codec, [40])], results, judge, masks)
    assert json.loads((tmp_path / "r").read_text())["options"]["adapters"][0].startswith("region ")
    (second,) = measure(pictures[1:], [(codec, [40])], ResultsFile(tmp_path / "s"), judge, masks)
    assert first.bytes != second.bytes  # the same picture with another mask
    with pytest.raises(UsageError, match="--masks"):
        list(measure(pictures[:1], [(codec, [50])], results))
