"""SFT, gain units and beta conditioning against numbers computed with the authors' implementations, in float64."""

from collections.abc import Callable

import pytest
import torch
from golden import Vectors, assert_matches, mistakes, part
from torch import Tensor
from torch.nn import functional as F

from promptcodec.importers.bases import from_reference
from promptcodec.model.entropy.prior import FactorizedPrior, gaussian_likelihood
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import Affine
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods import gain_units
from promptcodec.steer.methods.beta import BetaEmbedding, beta_features
from promptcodec.steer.methods.modulation import SFTLayer, SFTResidual


@pytest.fixture(scope="module")
def tensors(vectors: Vectors) -> dict[str, Tensor]:
    return vectors("conditioning")


def sft_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of the authors' code to ours."""
    pairs = (
        ("mlp_shared.0", "shared"),
        ("mlp_gamma", "scale"),
        ("mlp_beta", "shift"),
        ("norm_", "sft."),
        ("conv_", "conv."),
    )
    found = {}
    for key, value in state.items():
        for theirs, ours in pairs:
            key = key.replace(theirs, ours)
        found[key] = value
    return found


@torch.no_grad()
def test_sft(tensors: dict[str, Tensor]) -> None:
    golden, inputs = part(tensors, "output/"), part(tensors, "input/sft.")
    layer, block = SFTLayer(8, 4, 16).double(), SFTResidual(8, 4, 16).double()
    layer.load_state_dict(sft_names(part(tensors, "param/sft.")))
    block.load_state_dict(sft_names(part(tensors, "param/sft_resblock.")))
    for kind in ("double", "same", "odd"):
        assert_matches(layer(inputs["x"], inputs[f"q_{kind}"]), golden, f"sft/{kind}", 1e-11)
    assert_matches(block(inputs["x"], inputs["q_double"]), golden, "sft_resblock/double", 1e-11)


@torch.no_grad()
def test_beta(tensors: dict[str, Tensor]) -> None:
    golden, parameters = part(tensors, "output/beta/"), part(tensors, "param/beta.")
    values, x = tensors["input/beta.values"] / 5.12, tensors["input/beta.x"].double()
    assert_matches(beta_features(values), golden, "features", 1e-11)
    embedding = BetaEmbedding(24).double()
    embedding.load_state_dict({k: v for k, v in parameters.items() if k.startswith("mlp.")})
    weights = part(parameters, "block.")
    for i, value in enumerate(values):
        condition = embedding(value[None])
        assert_matches(condition, golden, f"condition{i}", 1e-11)
        out = x
        for j in range(3):
            out = F.conv2d(out, weights[f"conv.{2 * j}.weight"], weights[f"conv.{2 * j}.bias"], padding="same")
            shift = F.linear(condition, weights[f"proj_{j + 1}.weight"].flatten(1), weights[f"proj_{j + 1}.bias"])
            out = Affine(shift=shift[:, :, None, None])(F.relu(out) if j < 2 else out)
        assert_matches(x + out, golden, f"block{i}", 1e-11)


@torch.no_grad()
def test_gain_units(tensors: dict[str, Tensor]) -> None:
    golden, parameters = part(tensors, "output/gain/"), part(tensors, "param/gain.")
    units = gain_units.GainUnits(tic(8, 8)).double()
    names = {"y": "Gain", "y_inverse": "InverseGain", "z": "HyperGain", "z_inverse": "InverseHyperGain"}
    for ours, theirs in names.items():
        setattr(units, ours, torch.nn.Parameter(parameters[theirs]))
    for level, fraction in ((0, 0.25), (3, 0.5), (5, 0.0), (5, 1.0)):
        for theirs in names.values():
            rate = torch.tensor([(level + fraction) / 7], dtype=torch.float64)
            found = gain_units.interpolate(parameters[theirs], rate)[0]
            assert_matches(found, golden, f"interp/s{level}_l{fraction}/{theirs}.exponential", 1e-12)
    prior = FactorizedPrior(4).double()
    state = {k: v for k, v in parameters.items() if k.startswith("entropy_bottleneck")}
    prior.load_state_dict({k.removeprefix("prior."): v for k, v in from_reference(state).items()})
    y = tensors["input/gain.y"].double()
    for level in (0, 3, 7):  # the authors' hyper transforms see the gained y and give its parameters as they are
        gains = units.gains(Controls({"rate": torch.tensor([level / 7], dtype=torch.float64)}))
        scaled = y * gains.y
        assert_matches(scaled, golden, f"level{level}/y_scaled", 1e-11)
        z = F.conv2d(scaled, parameters["h_a.weight"], parameters["h_a.bias"]) * gains.z
        z_hat = (z - prior.medians).round() + prior.medians
        scales, means = F.conv2d(z_hat * gains.z_inverse, parameters["h_s.weight"], parameters["h_s.bias"]).chunk(2, 1)
        residual = (scaled - means).round()
        assert_matches((residual + means) * gains.y_inverse, golden, f"level{level}/y_hat_rescaled", 1e-11)
        for key, likelihood in (("y", gaussian_likelihood(residual, scales)), ("z", prior.likelihood(z_hat))):
            assert -likelihood.log2().sum().item() == pytest.approx(golden[f"level{level}/{key}_bits"].item(), abs=1e-8)


@pytest.mark.parametrize(
    ("check", "mistake"),
    [
        (test_sft, mistakes.conditions_resampled), (test_sft, mistakes.steeper_leaky_relu),
        (test_beta, mistakes.features_with_pi), (test_gain_units, mistakes.linear_between_gains),
        (test_gain_units, mistakes.signed_gains),
    ],
)  # fmt: skip
def test_mistakes_are_caught(
    vectors: Vectors, monkeypatch: pytest.MonkeyPatch,
    check: Callable[[dict[str, Tensor]], None], mistake: Callable[[pytest.MonkeyPatch], None],
) -> None:  # fmt: skip
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        check(vectors("conditioning"))
