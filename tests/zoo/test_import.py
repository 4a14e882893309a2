"""Published checkpoints: what is imported computes what the authors' code computed, up to half precision."""

import sys
from pathlib import Path

import pytest
import torch
from golden import load, part

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
def test_prompted_checkpoints(shared: Path, tmp_path: Path, source: str, golden: str) -> None:
    tensors = load(shared / f"golden/{golden}.safetensors")
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
    expected = tensors[f"{prefix}x_hat.every7"]
    steered = model(x, steering=Attached(model.config, [adapter], controls))["x_hat"][..., ::7, ::7]
    plain = model(x)["x_hat"][..., ::7, ::7]
    assert (steered - expected).abs().mean() < 0.02 * expected.std()
    assert (plain - expected).abs().mean() > 0.1 * expected.std()


def test_a_base_alone(shared: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = load(shared / "golden/tic_hp.safetensors")
    torch.save(part(tensors, "param/", torch.float32), tmp_path / "tic.pth")
    monkeypatch.setattr(
        sys,
        "argv",
        ["promptcodec", "import", "--from", "tic", str(tmp_path / "tic.pth"), str(tmp_path / "t.safetensors")],
    )
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "t.safetensors")]
    model = load_model(tmp_path / "t.safetensors").network
    with torch.inference_mode():
        y = model.g_a(tensors["input/x_u8"].float() / 256)
    assert (y - tensors["output/y"]).abs().max() < 0.01 * tensors["output/y"].abs().max()


def run_import(monkeypatch, source: str, checkpoint: Path, target: Path) -> None:
    arguments = ["promptcodec", "import", "--from", source, str(checkpoint), str(target)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as end:
        app.main()
    assert not end.value.code


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Up to what rounding the weights to half precision changes."""
    return bool((found - expected).abs().mean() < 0.02 * expected.std())


@torch.inference_mode()
def test_tic_with_its_context(shared: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = load(shared / "golden/tic_cam.safetensors")
    torch.save({"state_dict": part(tensors, "param/", torch.float32)}, tmp_path / "tic.pth.tar")
    run_import(monkeypatch, "tic-cam", tmp_path / "tic.pth.tar", tmp_path / "t.safetensors")
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "t.safetensors")]
    stored = load_model(tmp_path / "t.safetensors")
    model, outputs, x = stored.network, part(tensors, "output/", torch.float32), tensors["input/x_u8"].float() / 256
    assert (stored.name, model.config.context) == ("tic-cam", CausalAttention())
    y = model.g_a(x)
    assert close(y, outputs["y"])
    assert close(model.h_a(outputs["y"]), outputs["z"])
    scales, means = model.context.given(outputs["hyper"], outputs["y"].round())
    for name, found in (("scales", scales), ("means", means)):
        assert close(found, outputs[name]), name
    assert close(model.g_s(outputs["y"].round())[..., ::5, ::5], outputs["x_hat.every5"])
    rgb = tensors["input/x_u8"][0].permute(1, 2, 0).clamp(max=255).to(torch.uint8).numpy()
    codec = codec_of(stored)
    assert codec.decode_picture(codec.encode(rgb)).rgb.shape == rgb.shape


@torch.inference_mode()
def test_songs_codec_with_its_quality_map(shared: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    tensors = load(shared / "golden/song_qmap.safetensors")
    torch.save(part(tensors, "param/", torch.float32), tmp_path / "song.pth")
    run_import(monkeypatch, "song", tmp_path / "song.pth", tmp_path / "s.safetensors")
    written = [str(tmp_path / name) for name in ("s.safetensors", "s.adapter.safetensors")]
    assert capsys.readouterr().out.splitlines() == written
    model = load_model(written[0]).network
    adapter = load_adapter(written[1], model).adapter
    x = tensors["input/x_u8"].float() / 256
    controls = Controls(maps={"quality": tensors["input/qmap"].float()})
    out = model(x, steering=Attached(model.config, [adapter], controls))
    outputs = part(tensors, "output/", torch.float32)
    assert close(out["x_hat"][..., ::5, ::5], outputs["x_hat.every5"])
    assert close(out["likelihoods"]["y"], outputs["y_lik"])


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
