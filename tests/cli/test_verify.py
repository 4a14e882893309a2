"""``promptcodec verify``: sound files, all kinds of damage, missing models, and nothing written."""

import json
import subprocess
import sys

import pytest
import torch

from promptcodec.bitstream import container
from promptcodec.bitstream.container import ANCILLARY, pack, unpack


@pytest.fixture
def coded(run, folder):
    """The folder's pictures as files: a.ptc, b.ptc, sub/c.ptc."""
    assert run("encode", "-r", folder)[0] == 0
    return folder


def test_sound_files(run, coded):
    before = sorted(coded.rglob("*"))
    assert run("verify", coded / "a.ptc") == (0, f"{coded / 'a.ptc'}: sound\n", "")
    code, out, err = run("verify", "-r", coded)
    assert (code, out.splitlines()[-1], err) == (0, "3 files: 3 done", "")
    code, out, _ = run("verify", coded, "--json")
    assert [(json.loads(line)["status"], json.loads(line)["width"]) for line in out.splitlines()] == [
        ("done", 208),
        ("done", 128),
    ]
    assert sorted(coded.rglob("*")) == before


def with_tile(data, **changes):
    """The file with fields of its tile replaced, and all CRCs right."""
    file = unpack(data)
    tile = file.tiles[0]
    fields = {"checksum": tile.checksum, "offsets": tile.offsets, "stream": tile.stream} | changes
    return pack(container.PtcFile(file.header, (container.Tile(**fields),), file.metadata, file.adapters))


def test_damage_that_checksums_of_chunks_cannot_see(run, coded):
    data = (coded / "a.ptc").read_bytes()
    tile = unpack(data).tiles[0]
    cases = {
        "cut": (data[:-1], "missing"),
        "flipped": (data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "damaged (wrong CRC)"),
        "foreign": (b"\xff\xd8\xff" + data, "not a .ptc file"),
        "checksum": (with_tile(data, checksum=tile.checksum ^ 1), "checksum"),
        "stream": (with_tile(data, stream=tile.stream[:40] + bytes(4) + tile.stream[44:]), ""),
        "offsets": (with_tile(data, offsets=b""), "border offsets"),
    }
    for name, (damaged, message) in cases.items():
        path = coded / f"{name}.ptc"
        path.write_bytes(damaged)
        code, out, err = run("verify", path)
        assert (code, out) == (1, "")
        assert err.startswith(f"promptcodec: {path}: ")
        assert message in err
        assert err.count("\n") == 1
    for name in ("checksum", "stream", "offsets"):  # the container itself is whole
        assert run("verify", "--container", coded / f"{name}.ptc")[0] == 0
    assert run("verify", "--container", coded / "flipped.ptc")[0] == 1


def test_missing_models(run, coded, tic_file):
    data = (coded / "a.ptc").read_bytes()
    file = unpack(data)
    header = container.Header(**{**vars(file.header), "probability": b"12345678"})
    (coded / "other.ptc").write_bytes(pack(container.PtcFile(header, file.tiles, file.metadata)))
    code, out, err = run("verify", coded / "other.ptc")
    assert (code, out) == (1, "")
    assert "the container is sound, its latents were not checked: the file needs model 3132" in err
    code, out, _ = run("verify", "--json", coded / "other.ptc")
    assert json.loads(out)["status"] == "unchecked"
    assert run("verify", "--container", coded / "other.ptc")[0] == 0
    run("encode", coded / "a.png", "-o", coded / "tic.ptc", "--model", tic_file)
    assert "not checked" in run("verify", coded / "tic.ptc")[2]
    assert run("verify", coded / "tic.ptc", "--model", tic_file)[0] == 0
    assert "no model" in run("verify", coded / "tic.ptc", "--model", "missing")[2]


def test_adapters(run, coded, codec):
    from promptcodec.steer.adapter_file import save_adapter
    from promptcodec.steer.methods.pyramid import look

    torch.manual_seed(0)
    adapter = coded / "look.safetensors"
    save_adapter(look(codec.backend.network.config, decoder_only=True), codec.backend.network, adapter)
    run("encode", coded / "a.png", "-o", coded / "look.ptc", "--adapter", adapter, "--look", 0.3)
    assert "needs adapter look (" in run("verify", coded / "look.ptc")[2]
    assert run("verify", coded / "look.ptc", "--adapter", adapter)[0] == 0


def test_the_container_needs_no_torch(coded):
    script = (
        "import sys; from promptcodec.cli import app\n"
        "try: app.main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "verify", "--container", coded / "a.ptc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 False", done.stderr


def test_unknown_ancillary_chunks_are_fine(run, coded):
    (coded / "a.ptc").write_bytes((coded / "a.ptc").read_bytes() + container.chunk(0x20 | ANCILLARY, b"a comment"))
    assert run("verify", coded / "a.ptc")[0] == 0


@pytest.mark.parametrize(
    ("options", "verified"),
    [
        ([], {1: False, 2: True}),
        (["--verify"], {1: True, 2: True}),
        (["--no-verify"], {1: False, 2: False}),
        (["-j", "2", "--threads", "1"], {1: True}),
        (["-r"], {1: True}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_batches_are_verified_before_files_get_their_names(run, folder, monkeypatch, options, verified):
    from promptcodec.codec.decoder import Decoder
    from promptcodec.errors import FormatError

    def refuse(self, data, *rest, **given):
        raise FormatError("another integer")

    monkeypatch.setattr(Decoder, "verify", refuse)
    for count, wanted in verified.items():
        inputs = [folder / "a.png", folder / "b.jpg"][:count]
        out = folder / f"out{count}"
        code, _, err = run("encode", *inputs, "-o", f"{out}/", *options)
        assert (code, "another integer" in err) == ((1, True) if wanted else (0, False))
        assert [path.suffix for path in out.rglob("*")] == ([] if wanted else [".ptc"] * count)
