"""Song et al.'s codec and its quality map against numbers computed with the authors' implementation, in float64."""

from collections.abc import Callable

import pytest
import torch
from golden import Vectors, assert_matches, assert_output_matches, mistakes, part

from promptcodec.errors import UsageError
from promptcodec.importers.song import from_song
from promptcodec.model.base import CompressionModel
from promptcodec.model.config import Model
from promptcodec.model.presets.registry import song, tic
from promptcodec.model.steering import Decoded
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.song import QualityMap, quality_to_lambda


@torch.inference_mode()
def test_song(vectors: Vectors) -> None:
    tensors = vectors("song_qmap")
    golden = part(tensors, "output/")
    base, conditioning = from_song(part(tensors, "param/"))
    model = CompressionModel(song(8))
    model.load_state_dict(base)
    adapter = QualityMap(model.config, condition=6)
    adapter.load_state_dict(conditioning)
    model, adapter = model.double().eval(), adapter.double().eval()
    x = tensors["input/x_u8"].double() / 256
    attached = Attached(model.config, [adapter], Controls(maps={"quality": tensors["input/qmap"].double()}))
    y, z, steering = model.analyse(x, attached)
    first = model.g_a.layers[1](model.g_a.layers[0](x))
    assert_matches(model.g_a.layers[2](first, {-1: steering.within("g_a")[(0, -1)]}), golden, "g_a2", 1e-9)
    assert_matches(y, golden, "y", 1e-9)
    assert_matches(z, golden, "z", 1e-9)
    z_hat = (z - model.prior.medians).round() + model.prior.medians
    assert_matches(z_hat, golden, "z_hat", 1e-9)
    scales, means = model.hyper_parameters(z_hat, steering.gains)
    assert_matches(scales, golden, "scales", 1e-9)
    assert_matches(means, golden, "means", 1e-9)
    y_hat = (y - means).round() + means
    assert_matches(y_hat, golden, "y_hat", 1e-9)
    features = torch.cat([adapter.from_z(Decoded(z_hat, y_hat).z), y_hat], dim=1)
    assert_matches(adapter.synthesis(features)[0], golden, "w", 1e-9)
    assert_output_matches(model(x, steering=attached), golden)


@pytest.mark.parametrize(
    "mistake",
    [
        mistakes.no_epsilon_in_gdn, mistakes.floor_after_the_square_in_gdn, mistakes.steeper_leaky_relu,
        mistakes.repeated_edge, mistakes.conditions_resampled,
    ],
)  # fmt: skip
def test_mistakes_are_caught(
    vectors: Vectors, monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None]
) -> None:
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_song(vectors)


def test_counts(vectors: Vectors) -> None:
    expected = vectors.counts()["song_qmap_192_192"]["params"]
    model = CompressionModel(song())
    adapter = QualityMap(model.config)

    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(model) + count(adapter) == expected["total"] == 27_574_979
    for name in ("g_a", "h_a", "g_s"):
        assert count(getattr(model, name)) + count(adapter.get_submodule(f"transforms.{name}")) == expected[name]
    assert count(model.h_s) == expected["h_s"]
    assert count(adapter.analysis) == expected["condition_g_a"]
    assert count(adapter.hyper) == expected["condition_h_a"]
    assert count(adapter.from_z) + count(adapter.synthesis) == expected["condition_g_s"]


def test_refusals_and_meaning() -> None:
    with pytest.raises(UsageError, match="preset song"):
        QualityMap(tic(16, 32))
    with pytest.raises(UsageError, match="belongs to no layer"):
        from_song({"context.weight": torch.zeros(1)})
    assert quality_to_lambda(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.001, 0.08], rel=1e-2)
    assert Model.from_json(song().to_json()) == song()
