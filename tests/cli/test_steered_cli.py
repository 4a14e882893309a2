"""The command line with adapters."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from promptcodec.cli import app
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import tic
from promptcodec.steer.adapter_file import save_adapter
from promptcodec.steer.methods.lpm import LPM
from promptcodec.steer.methods.pyramid import look, rate_and_region, region
from promptcodec.steer.methods.sft import SFT
from promptcodec.store.model_file import save_model


@pytest.fixture
def run(monkeypatch, capfd, tmp_path, photo, codec):
    """Run the command line in a folder with a.png, mask.png and two adapters: (exit code, standard error)."""
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("a.png")
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save("mask.png")
    save_adapter(look(codec.backend.network.config, decoder_only=True), codec.backend.network, "look.safetensors")
    save_adapter(region(codec.backend.network.config), codec.backend.network, "region.safetensors")

    def call(line):
        monkeypatch.setattr(sys, "argv", ["promptcodec", *line.split()])
        try:
            app.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, capfd.readouterr().err

    return call


def test_encode_and_decode_with_adapters(run):
    steer = "--adapter look.safetensors --adapter region.safetensors"
    assert run(f"encode a.png {steer} --roi mask.png --look 0.3")[0] == 0
    assert run("decode a.ptc --adapter look.safetensors -o low.png")[0] == 0
    assert run("decode a.ptc --adapter look.safetensors --look 0.9 -o high.png")[0] == 0
    assert (np.asarray(Image.open("low.png")) != np.asarray(Image.open("high.png"))).any()
    code, error = run("decode a.ptc -o none.png")
    assert (code, "needs adapter look (" in error) == (1, True)
    assert run("encode a.png -o b.ptc --adapter region.safetensors --roi 10,10,50,50")[0] == 0
    assert run("decode b.ptc")[0] == 0
    assert run("info a.ptc")[0] == 0


@pytest.mark.parametrize(
    ("adapter", "asked"),
    [
        (LPM, ""),
        (rate_and_region, "--set rate=0.4 --roi mask.png"),
        (lambda base: SFT(base, scalars=["mood"]), "--set mood=1"),
    ],
    ids=["lpm", "rate and region", "sft"],
)
def test_networks_in_bfloat16_take_adapters(run, adapter, asked, tmp_path):
    """On a base with sites in its last layer, which stays float32; either precision decodes the file."""
    torch.manual_seed(0)
    model = CompressionModel(tic(16, 32))
    base, steering = (tmp_path / f"{name}.safetensors" for name in ("base", "steering"))
    save_model(model, base, "0")
    save_adapter(adapter(model.config), model, steering)
    steer = f"--model {base} --adapter {steering}"
    assert run(f"encode a.png {steer} {asked} --precision bfloat16") == (0, "")
    assert run(f"decode a.ptc {steer} --precision bfloat16 -o rounded.png")[0] == 0
    assert run(f"decode a.ptc {steer} -o plain.png")[0] == 0
    rounded, plain = (np.asarray(Image.open(f"{name}.png")).astype(int) for name in ("rounded", "plain"))
    assert 0 < np.abs(rounded - plain).mean() < 1


def test_what_makes_no_sense(run, older):
    for line, message in (
        ("encode a.png --model older --roi 1,2,3,4", "no adapter takes a region"),
        ("encode a.png --set mood=0.5", "no adapter takes 'mood'"),
        ("encode a.png --adapter region", "needs a map 'roi'"),
        ("encode a.png --adapter look.safetensors --set look", "--set takes NAME=VALUE"),
        ("encode a.png --adapter look.safetensors", "needs a value for 'look'"),
    ):
        code, error = run(line)
        assert (code, message in error) == (2, True), error
    code, error = run("encode a.png --adapter a.png --look 0.1")
    assert (code, "cannot be read" in error) == (1, True)


def test_an_effort_and_maps_by_name(run, tmp_path):
    assert run("encode a.png --effort 1 -o r.ptc")[0] == 0
    assert run("encode a.png -o p.ptc")[0] == 0
    assert run("decode r.ptc")[0] == 0
    steer = "encode a.png --adapter region.safetensors --overwrite"
    assert run(f"{steer} --map roi=mask.png -o m.ptc")[0] == 0
    assert run(f"{steer} --roi mask.png -o n.ptc")[0] == 0
    assert (tmp_path / "m.ptc").read_bytes() == (tmp_path / "n.ptc").read_bytes()
    assert run("encode a.png --adapter step --set step=0.6 -o s.ptc")[0] == 0
    assert run("decode s.ptc --adapter step")[0] == 0
    for line, message in (
        ("encode a.png -o x.ptc --map roi", "--map takes NAME=MAP"),
        ("encode a.png -o x.ptc --effort 11", "an effort is a whole number from 0 to 10, not 11"),
        ("encode a.png -o x.ptc --effort -1", "from 0 to 10, not -1"),
        ("encode a.png -o x.ptc --effort 2.5", "from 0 to 10, not 2.5"),
        ("encode a.png -o x.ptc --refine 2", "No such option"),
    ):
        code, error = run(line)
        assert (code, message in error) == (2, True), error


def test_skip_existing_follows_what_was_asked_for(run, tmp_path):
    line = "encode a.png --adapter region.safetensors --skip-existing --roi "
    run(line + "10,10,50,50")
    first = (tmp_path / "a.ptc").read_bytes()
    run(line + "10,10,50,50")
    assert (tmp_path / "a.ptc").read_bytes() == first
    run(line + "mask.png")
    assert (tmp_path / "a.ptc").read_bytes() != first
