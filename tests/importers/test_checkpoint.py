"""Published checkpoints: what is imported computes what the authors' code computed, up to half precision."""

import sys
from pathlib import Path

import pytest
import torch
from golden import Vectors, assert_close, pairs, part

from promptcodec.api import codec_of
from promptcodec.cli import app
from promptcodec.errors import ModelMismatchError, UsageError
from promptcodec.importers.checkpoint import import_checkpoint
from promptcodec.model.config import CausalAttention
from promptcodec.steer.adapter_file import load_adapter
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.store.model_file import load_model


@pytest.mark.parametrize(("source", "golden"), [("transtic", "transtic"), ("kao", "kao_varroi")])
@torch.inference_mode()
def test_prompted_checkpoints(vectors: Vectors, tmp_path: Path, source: str, golden: str) -> None:
    tensors = vectors(golden)
    checkpoint, target = tmp_path / "base_codec_3.pth.tar", tmp_path / "m.safetensors"
    state = {f"module.{k}": v for k, v in part(tensors, "param/", torch.float32).items()}
    torch.save({"epoch": 3, "state_dict": state}, checkpoint)
    written = import_checkpoint(source, checkpoint, target)
    assert [p.name for p in written] == ["m.safetensors", "m.adapter.safetensors"]
    model = load_model(target).network
    adapter = load_adapter(written[1], model).adapter
    x, controls, prefix = tensors["input/x_u8"].float() / 256, Controls(), "output/ref/"
    if source == "kao":
        roi = tensors["input/roi_u8"].float() / 256
        controls, prefix = Controls({"rate": tensors["input/lambda_values"][:1]}, {"roi": roi}), "output/ref/lam0/"
    expected = part(tensors, prefix)
    assert_close(model(x, steering=Attached(model.config, [adapter], controls))["x_hat"], expected, "x_hat", 0.02)
    with pytest.raises(AssertionError, match="x_hat"):
        assert_close(model(x)["x_hat"], expected, "x_hat", 0.1)


def test_a_base_alone(vectors: Vectors, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = vectors("tic_hp")
    torch.save(part(tensors, "param/", torch.float32), tmp_path / "tic.pth")
    monkeypatch.setattr(
        sys,
        "argv",
        ["promptcodec", "import", "--from", "tic", str(tmp_path / "tic.pth"), "-o", str(tmp_path / "t.safetensors")],
    )
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "t.safetensors")]
    model = load_model(tmp_path / "t.safetensors").network
    with torch.inference_mode():
        y = model.g_a(tensors["input/x_u8"].float() / 256)
    for ours, theirs in pairs(y, part(tensors, "output/"), "y").values():
        assert (ours - theirs).abs().max() < 0.01 * theirs.abs().max()


def run_import(monkeypatch, source: str, checkpoint: Path, target: Path) -> None:
    arguments = ["promptcodec", "import", "--from", source, str(checkpoint), "-o", str(target)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code


ROUNDED = 0.02  # what rounding the weights to half precision changes, in standard deviations


@torch.inference_mode()
def test_tic_with_its_context(vectors: Vectors, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = vectors("tic_cam")
    torch.save({"state_dict": part(tensors, "param/", torch.float32)}, tmp_path / "tic.pth.tar")
    run_import(monkeypatch, "tic-cam", tmp_path / "tic.pth.tar", tmp_path / "t.safetensors")
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "t.safetensors")]
    stored = load_model(tmp_path / "t.safetensors")
    model, outputs, x = stored.network, part(tensors, "output/"), tensors["input/x_u8"].float() / 256
    assert (stored.name, model.config.context) == ("tic-cam", CausalAttention())
    y = model.g_a(x)
    assert_close(y, outputs, "y", ROUNDED)
    z = model.h_a(y)
    assert_close(z, outputs, "z", ROUNDED)
    hyper = model.h_s((z - model.prior.medians).round() + model.prior.medians)
    assert_close(hyper, outputs, "hyper", ROUNDED)
    scales, means = model.context.in_one_pass(hyper, y.round())
    assert_close(scales, outputs, "scales", ROUNDED)
    assert_close(means, outputs, "means", ROUNDED)
    assert_close(model.g_s(y.round()), outputs, "x_hat", ROUNDED)
    rgb = tensors["input/x_u8"][0].permute(1, 2, 0).clamp(max=255).to(torch.uint8).numpy()
    codec = codec_of(stored)
    assert codec.decode_picture(codec.encode(rgb)).rgb.shape == rgb.shape


@torch.inference_mode()
def test_songs_codec_with_its_quality_map(vectors: Vectors, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = vectors("song_qmap")
    torch.save(part(tensors, "param/", torch.float32), tmp_path / "song.pth")
    run_import(monkeypatch, "song", tmp_path / "song.pth", tmp_path / "s.safetensors")
    written = [str(tmp_path / name) for name in ("s.safetensors", "s.adapter.safetensors")]
    assert capsys.readouterr().out.splitlines() == written
    model = load_model(written[0]).network
    adapter = load_adapter(written[1], model).adapter
    x = tensors["input/x_u8"].float() / 256
    controls = Controls(maps={"quality": tensors["input/qmap"].float()})
    out = model(x, steering=Attached(model.config, [adapter], controls))
    outputs = part(tensors, "output/")
    assert_close(out["x_hat"], outputs, "x_hat", ROUNDED)
    assert_close(out["likelihoods"]["y"], outputs, "y_lik", ROUNDED)


class Bomb:
    def __reduce__(self):
        return (print, ("a pickle ran code",))


def test_refusals(tmp_path: Path, capsys) -> None:
    target = tmp_path / "m.safetensors"
    torch.save({"state_dict": {"a": Bomb()}}, tmp_path / "bomb.pth")
    with pytest.raises(ModelMismatchError, match="something else than tensors"):
        import_checkpoint("tic", tmp_path / "bomb.pth", target)
    assert "ran code" not in capsys.readouterr().out
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ModelMismatchError, match="is no checkpoint of tic"):
        import_checkpoint("tic", tmp_path / "other.pth", target)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelMismatchError, match="no parameters by name"):
        import_checkpoint("tic", tmp_path / "list.pth", target)
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for name in ("junk.pth", "none.pth"):
        with pytest.raises(ModelMismatchError):
            import_checkpoint("tic", tmp_path / name, target)
    with pytest.raises(UsageError, match="come from transtic, kao, tic, tic-cam, song, not from 'elic'"):
        import_checkpoint("elic", tmp_path / "other.pth", target)
    assert not target.exists()
