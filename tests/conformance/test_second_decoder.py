"""The second decoder, which knows the documentation alone, against the integers of the conformance files."""

import ast
import hashlib
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from conformance import make, second_decoder, second_synthesis
from conformance.second_decoder import Model, RefusedError, integers
from PIL import Image

from promptcodec.bitstream import tables
from promptcodec.bitstream.container import PtcReader
from promptcodec.store.shipped import find_model, read_metadata
from promptcodec.store.shipped_adapters import ADAPTERS, shipped_adapters

FOLDER = make.FOLDER
PROGRAM = FOLDER / "second_decoder.py"
GAUSSIANS = Path(tables.__file__).with_name(tables.GAUSSIAN_FILE)
ENTRIES = {
    name: entry
    for path in sorted(FOLDER.glob("*.json"))
    if path.stem != "bad"
    for name, entry in json.loads(path.read_text("utf-8")).items()
}
WITHOUT = ("space-channel", "causal", "adapter")  # experimental kinds, which the documentation leaves to the source
FILES = [name for name in ENTRIES if not name.startswith(WITHOUT)]
# What is wrong with these lies behind the integers, is a reader's own limit, or takes this slow decoder minutes.
NOT_ITS_OWN = ("bomb", "not-deflated", "source-hash", "no-adapters", "too-large", "claims-much")
BAD = [name for name in json.loads((FOLDER / "bad.json").read_text("utf-8")) if name not in NOT_ITS_OWN]


def model_file(name):
    return FOLDER / f"{name}.safetensors" if name in make.MODELS else find_model(name)


@pytest.fixture(scope="module")
def models():
    return {name: Model(model_file(name), GAUSSIANS) for name in {ENTRIES[name]["model"] for name in FILES}}


def test_it_covers_every_file_of_shipped_models():
    shipped = [name for name, entry in ENTRIES.items() if entry["model"] not in make.MODELS]
    assert shipped
    assert set(shipped) <= set(FILES)
    assert {"tiles", "preview", "reserved-chunks", "contextual-mean", "contextual-mean-tiles"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_finds_the_same_integers(models, name):
    entry, data = ENTRIES[name], (FOLDER / f"{name}.ptc").read_bytes()
    adapters = [adapter.path for adapter in shipped_adapters() if name.startswith(adapter.path.stem)]
    found = integers(data, models[entry["model"]], adapters)
    assert hashlib.sha256(found).hexdigest() == entry["latents"]


@pytest.mark.parametrize("name", ["plain", "contextual-mean", "nano-0.5-q70"])
def test_it_finds_the_same_pixels(models, name):
    """What docs/networks.md says of synthesis, gates, attention and means: within the level that devices differ by."""
    found = second_synthesis.pixels((FOLDER / f"{name}.ptc").read_bytes(), models[ENTRIES[name]["model"]])
    with Image.open(FOLDER / f"{name}.png") as expected:
        assert np.abs(found.astype(int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("name", BAD)
def test_it_refuses_the_same_files(models, name):
    data = (FOLDER / "bad" / f"{name}.ptc").read_bytes()
    with pytest.raises(RefusedError) as caught:
        integers(data, models["tiny"])
    if name in ("tiles-swapped", "header-of-another-rate", "header-grey", "checksum"):
        assert "has not the checksum of its integers" in str(caught.value)  # and for no other reason


def test_an_adapter_that_signals_something_else_is_noticed(models):
    """One bit of the look of a file, every CRC in order: no integer depends on it, its checksum does."""
    data = (FOLDER / "nano-0.5-look-1-q20.ptc").read_bytes()
    (adapter,) = (a for a in shipped_adapters() if a.path.stem == "nano-0.5-look-1")
    (payload,) = (p for kind, p in second_decoder.chunks(data) if kind == second_decoder.ADAPTERS)
    at = data.index(payload)
    changed = payload[:-1] + bytes([payload[-1] ^ 1])
    crc = zlib.crc32(data[at - 2 : at] + changed)
    other = data[:at] + changed + struct.pack("<I", crc) + data[at + len(payload) + 4 :]
    with pytest.raises(RefusedError, match="has not the checksum"):
        integers(other, models["nano"], [adapter.path])


def test_fingerprints_are_as_documented(models):
    for name, model in models.items():
        about = read_metadata(model_file(name))
        assert (model.probability.hex(), model.pixels.hex()) == (
            about["probability_fingerprint"], about["pixel_fingerprint"],
        )  # fmt: skip
    for adapter in shipped_adapters():
        tensors, about = second_decoder.safetensors(ADAPTERS / adapter.file)
        digest = second_decoder.digest(about["about"] + about["base"], tensors)
        assert digest[:8].hex() == adapter.fingerprint
        assert models["nano"].base.hex() == adapter.base


def test_the_stream_of_the_documentation():
    """The example of docs/stream.md, byte by byte."""
    text = (make.FOLDER.parents[1] / "docs" / "stream.md").read_text("utf-8")
    data = bytes.fromhex(text.split("whole stream is `")[1].split("`")[0])
    table = [(0, np.array([2**23, 2**22, 2**22]))]
    stream = second_decoder.Stream(data)
    assert stream.pull(np.zeros(4, int), table).tolist() == [1, 0, 5, -2]
    stream.finish()


def imports_of(path):
    tree = ast.parse(path.read_text("utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return imported - sys.stdlib_module_names


def test_it_imports_nothing_of_ours():
    assert imports_of(PROGRAM) == {"numpy"}
    assert imports_of(FOLDER / "second_synthesis.py") == {"numpy", "conformance", "second_decoder"}


def test_as_a_program(tmp_path):
    """Alone in a folder, and out of reach of the package."""
    program = tmp_path / "decoder.py"
    program.write_bytes(PROGRAM.read_bytes())
    model, environment = find_model("nano"), {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(file):
        command = [sys.executable, program, file, model, GAUSSIANS]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    sound = run(FOLDER / "nano-0.5-q35.ptc")
    assert sound.stdout.split() == [ENTRIES["nano-0.5-q35"]["latents"]], sound.stderr
    refused = run(FOLDER / "bad" / "version-1.ptc")
    assert (refused.returncode, refused.stderr.split(": ")[-1].strip()) == (1, "another format version")


def test_tiles_lie_where_the_header_says():
    for name in ("tiles", "tiles-alike", "tiles-grey"):
        with (FOLDER / f"{name}.ptc").open("rb") as file:
            grid = PtcReader(file).header.grid
        (_, payload), *_ = second_decoder.chunks((FOLDER / f"{name}.ptc").read_bytes())
        expected = [(t.top, t.left, t.height, t.width) for t in map(grid.tile, range(grid.count))]
        assert second_decoder.header_of(payload)["tiles"] == expected
