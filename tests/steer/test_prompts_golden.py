"""Prompted models against numbers computed with the authors' implementations, in float64."""

from collections.abc import Callable

import pytest
import torch
from golden import Vectors, assert_matches, assert_output_matches, mistakes, part

from promptcodec.importers.bases import from_reference
from promptcodec.importers.prompts import split_prompts
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import Decoded, Site
from promptcodec.steer.attached import Attached
from promptcodec.steer.controls import Controls
from promptcodec.steer.methods.pyramid import rate_and_region
from promptcodec.steer.methods.transtic import TransTIC


@pytest.mark.parametrize("variant", ["ref", "fix"])
@torch.inference_mode()
def test_transtic(vectors: Vectors, variant: str) -> None:
    tensors = vectors("transtic")
    base, prompts = split_prompts(part(tensors, "param/"))
    model = CompressionModel(tic(16, 48))
    model.load_state_dict(from_reference(base))
    adapter = TransTIC(model.config, compat_mask=variant == "ref")
    adapter.load_state_dict(prompts)
    model, adapter = model.double().eval(), adapter.double().eval()
    x = tensors["input/x_u8"].double() / 256
    outputs = part(tensors, "output/")
    golden = part(outputs, f"{variant}/")
    steering = adapter.for_encoder(x, Controls())
    assert adapter.encoder is not None
    assert_matches(adapter.encoder.trunk[0](x), outputs, "extractor_feature", 1e-9)
    for stage, name, depth in ((0, "g_a1", 2), (1, "g_a3", 4)):
        for i in range(depth):
            (prompt,) = steering.sites[Site("g_a", stage, i)].prompts
            assert_matches(prompt.tokens, outputs, f"prompt.{name}.{i}", 1e-9)
    attached = Attached(model.config, [adapter])
    y = model.g_a(x, steering.within("g_a"))
    assert_matches(y, golden, "y", 1e-9)
    out = model(x, steering=attached)
    assert_output_matches(out, golden, likelihoods=False)


@pytest.mark.parametrize("variant", ["ref", "fix"])
@torch.inference_mode()
def test_kao(vectors: Vectors, variant: str) -> None:
    tensors = vectors("kao_varroi")
    base, prompts = split_prompts(part(tensors, "param/"))
    model = CompressionModel(tic(16, 32))
    model.load_state_dict(from_reference(base))
    adapter = rate_and_region(model.config, compat_mask=variant == "ref")
    adapter.load_state_dict(prompts)
    model, adapter = model.double().eval(), adapter.double().eval()
    x, roi = tensors["input/x_u8"].double() / 256, tensors["input/roi_u8"].double() / 256
    outputs = part(tensors, "output/")
    for i, value in enumerate(tensors["input/lambda_values"].double()):
        golden = part(outputs, f"{variant}/lam{i}/")
        attached = Attached(model.config, [adapter], Controls({"rate": value[None]}, {"roi": roi}))
        out = model(x, steering=attached)
        assert_output_matches(out, golden, likelihoods=False)
        if variant == "ref":
            continue
        y, z, steering = model.analyse(x, attached)
        assert_matches(y, golden, "y", 1e-9)
        z_hat = (z - model.prior.medians).round() + model.prior.medians
        assert_matches(z_hat, golden, "z_hat", 1e-9)
        _, means = model.hyper_parameters(z_hat, steering.gains)
        y_hat = (y - means).round() + means
        assert_matches(y_hat, golden, "y_hat", 1e-9)
        steering = steering.then(attached.for_decoder(Decoded(z_hat, y_hat)))
        for site, steer in steering.sites.items():
            layer = 2 * site.stage + (site.transform == "g_a")
            name = f"prompt.{site.transform}{layer}.{site.block}"
            assert_matches(steer.prompts[0].tokens, part(outputs, f"lam{i}/"), name, 1e-9)
        assert len(steering.sites) == 28


@pytest.mark.parametrize(
    ("check", "mistake"),
    [
        (test_transtic, mistakes.other_batch_norm_epsilon), (test_transtic, mistakes.corners_not_aligned),
        (test_transtic, mistakes.prompt_mask_in_the_other_order), (test_transtic, mistakes.normalised_prompts),
        (test_kao, mistakes.controls_in_another_order), (test_kao, mistakes.prompt_mask_in_the_other_order),
    ],
)  # fmt: skip
def test_mistakes_are_caught(
    vectors: Vectors, monkeypatch: pytest.MonkeyPatch,
    check: Callable[[Vectors, str], None], mistake: Callable[[pytest.MonkeyPatch], None],
) -> None:  # fmt: skip
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        check(vectors, "fix")
