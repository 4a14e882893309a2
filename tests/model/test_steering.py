"""Steering in the model: nothing changes nothing, prompts stay in their regions, composition keeps its order."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from narrow import narrow

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.layers.blocks import Block, Stage
from promptcodec.model.presets.nano import nano
from promptcodec.model.presets.registry import CONFIGURATIONS, tic
from promptcodec.model.steering import (
    Affine,
    BlockSteer,
    Conditioned,
    DeferredPrompt,
    Gains,
    Prompt,
    Site,
    Steering,
)

WINDOW = 8


def make_stage(depth: int = 2) -> Stage:
    torch.manual_seed(0)
    stage = Stage(8, config.Stage(depth, config.Attention(2, WINDOW)), [0.0] * depth).double().eval()
    for parameter in stage.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return stage


def test_identity_is_bit_equal() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 70, 90)
    for cfg, q in ((tic(16, 32), None), (nano(), torch.tensor([0.2, 0.7]))):
        model = CompressionModel(cfg).eval()
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                base = model(x, q)
                for empty in (Steering(), Steering({Site("g_a", 0): BlockSteer(), Site("g_s", 0, 0): BlockSteer()})):
                    steered = model(x, q, steering=empty)
                    assert torch.equal(steered["x_hat"], base["x_hat"])
                    assert torch.equal(steered["likelihoods"]["y"], base["likelihoods"]["y"])
                    assert torch.equal(steered["likelihoods"]["z"], base["likelihoods"]["z"])


@settings(max_examples=10)
@given(st.integers(5, 20), st.integers(5, 20), st.sampled_from([1, 2, 4]), st.booleans())
def test_prompts_are_seen_in_their_region_only(height: int, width: int, stride: int, carry: bool) -> None:
    """The gradient of every output token with respect to the prompts lives in the token's region, and nowhere else."""
    block = make_stage().blocks[1]
    assert isinstance(block, Block)
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    tokens = torch.randn(1, 8, -(-height // stride), -(-width // stride), dtype=torch.float64, requires_grad=True)

    def region(y: int, c: int) -> tuple[int, int]:
        return (y - WINDOW // 2) // WINDOW, (c - WINDOW // 2) // WINDOW

    steer = BlockSteer((Prompt(tokens, stride, carry),))
    out = block.forward_carrying(x, steer)[0] if carry else block(x, steer)
    for y, c in ((0, 0), (height - 1, width - 1), (height - 1, 0), (height // 2, width // 2)):
        (grad,) = torch.autograd.grad(out[0, y, c].sum(), tokens, retain_graph=True)
        seen = grad[0].abs().sum(0) > 0
        expected = [
            [region(v * stride, u * stride) == region(y, c) for u in range(seen.shape[1])] for v in range(seen.shape[0])
        ]
        assert seen.tolist() == expected


def test_carried_prompts_stay_in_their_region_and_move_the_next_block() -> None:
    stage, x = make_stage(3), torch.randn(2, 8, 16, 24, dtype=torch.float64)
    tokens = torch.randn(2, 8, 8, 12, dtype=torch.float64)
    deep = stage(x, {0: BlockSteer((Prompt(tokens),))})
    shallow = stage(x, {0: BlockSteer((Prompt(tokens, carry=True),))})
    assert not torch.allclose(deep, shallow)
    shared = Prompt(torch.randn(16, 8, dtype=torch.float64), carry=True)
    out = stage(x, {0: BlockSteer((shared,))})
    alone = torch.cat([stage(x[i : i + 1], {0: BlockSteer((shared,))}) for i in range(2)])
    torch.testing.assert_close(out, alone, atol=1e-10, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(stage(x, {0: BlockSteer((shared,))}), out, atol=1e-10, rtol=0)
    block = stage.blocks[1]
    assert isinstance(block, Block)
    map_tokens = torch.randn(1, 8, 8, 12, dtype=torch.float64)
    moved = x[:1].clone()
    moved[0, :4, :4, :4] += 1.0  # one corner region of the shifted windows; the norm would undo it in all channels
    (before,) = block.forward_carrying(x[:1].permute(0, 2, 3, 1), BlockSteer((Prompt(map_tokens, carry=True),)))[1]
    (after,) = block.forward_carrying(moved.permute(0, 2, 3, 1), BlockSteer((Prompt(map_tokens, carry=True),)))[1]
    changed = (before.tokens - after.tokens).abs().sum(1)[0] > 0
    assert changed[:2, :2].all()
    assert changed.sum() == 4


def test_composition_is_ordered() -> None:
    site, x = Site("g_a", 0, 1), torch.randn(1, 4, 2, 2)
    double = Steering(
        {site: BlockSteer(outputs=(Affine(scale=torch.ones(1, 4, 1, 1)),))}, Gains(y=torch.full((1, 4, 1, 1), 2.0))
    )
    add = Steering(
        {site: BlockSteer(outputs=(Affine(shift=torch.ones(1, 4, 1, 1)),))}, Gains(y=torch.full((1, 4, 1, 1), 3.0))
    )
    assert torch.allclose(double.then(add).sites[site].finish(x), 2 * x + 1)
    both = add.then(double)
    assert torch.allclose(both.sites[site].finish(x), 2 * (x + 1))
    assert isinstance(both.gains.y, torch.Tensor)
    assert (both.gains.y == 6).all()
    prompt = Steering({site: BlockSteer((Prompt(torch.zeros(3, 4)),))})
    assert len(prompt.then(prompt).sites[site].prompts) == 2
    keep = Steering(keep_y=torch.tensor([1.0, 0.0, 1.0])).then(Steering(keep_y=torch.tensor([1.0, 1.0, 0.0])))
    assert keep.keep_y is not None
    assert keep.keep_y.tolist() == [1.0, 0.0, 0.0]


def test_dropped_latents_are_coded_as_the_likeliest_symbol() -> None:
    torch.manual_seed(0)
    model, x = CompressionModel(tic(16, 32)).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        model.g_a.layers[-1].blocks[0].ffn[2].weight.mul_(30)  # type: ignore[index, union-attr, operator]
        keep = (torch.arange(32)[None, :, None, None] < 16).float()
        y = model(x)["likelihoods"]["y"]
        dropped = model(x, steering=Steering(keep_y=keep))["likelihoods"]["y"]
    assert torch.equal(y[:, :16], dropped[:, :16])
    assert (dropped[:, 16:] >= y[:, 16:]).all()


@torch.no_grad()
def test_masks_may_come_from_bfloat16() -> None:
    torch.manual_seed(0)
    model = CompressionModel(tic(16, 32)).eval()
    keep_y = (torch.arange(32) % 2).view(1, -1, 1, 1)
    keep_z = (torch.arange(model(torch.rand(1, 3, 64, 64))["likelihoods"]["z"].shape[1]) % 3 > 0).view(1, -1, 1, 1)
    x = torch.rand(1, 3, 64, 64)
    single, half = (
        model(x, steering=Steering(keep_y=keep_y.to(t), keep_z=keep_z.to(t)))["x_hat"]
        for t in (torch.float32, torch.bfloat16)
    )
    assert torch.equal(single, half)


def test_what_cannot_be_attached_says_so() -> None:
    stage = make_stage()
    x = torch.randn(1, 8, 16, 16, dtype=torch.float64)
    with pytest.raises(UsageError, match="4 channels do not fit a block of 8"):
        stage(x, {0: BlockSteer((Prompt(torch.zeros(3, 4, dtype=torch.float64)),))})
    with pytest.raises(UsageError, match=r"prompt map of 16 x 16 does not fit .* expected 8 x 8"):
        stage(x, {0: BlockSteer((Prompt(torch.zeros(1, 8, 16, 16, dtype=torch.float64)),))})
    with pytest.raises(UsageError, match="do not divide windows of 8, shifted by 4"):
        stage(x, {1: BlockSteer((Prompt(torch.zeros(1, 8, 2, 2, dtype=torch.float64), 8),))})
    model = CompressionModel(nano())
    prompt = Steering({Site("g_a", 0, 0): BlockSteer((Prompt(torch.zeros(3, 64)),))})
    with pytest.raises(UsageError, match="takes no prompt tokens"):
        model(torch.rand(1, 3, 64, 64), torch.tensor([0.5]), steering=prompt)


def _steered(dtype: torch.dtype) -> dict[int, BlockSteer]:
    """Steering of every sort for ``make_stage(2)`` and a map of 16 x 16 tokens, with the same values in any type."""
    torch.manual_seed(1)
    maps, shared = torch.randn(1, 8, 8, 8).bfloat16().to(dtype), torch.randn(3, 8).bfloat16().to(dtype)
    scale, shift, condition = (torch.randn(1, 8, 1, 1).bfloat16().to(dtype) for _ in range(3))
    layer = torch.nn.Conv2d(8, 8, 1)

    def transform(x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return x + layer(condition)

    first = (Prompt(maps, carry=True), Prompt(shared, carry=True), DeferredPrompt(lambda: Prompt(shared), 8))
    return {
        0: BlockSteer(first, (Affine(scale, shift),)),
        1: BlockSteer((Prompt(maps),)),
        -1: BlockSteer(outputs=(Conditioned(transform, condition), Affine(scale), Affine(shift=shift))),
    }


@pytest.mark.parametrize("grad", [False, True])
def test_steering_of_autocast_acts_in_full_precision_on_float32_tokens(grad: bool) -> None:
    """As the same values in float32 do, to the bit: nothing is rounded where tokens are not."""
    stage, x = make_stage().float(), torch.randn(1, 8, 16, 16)
    with torch.set_grad_enabled(grad):
        assert torch.equal(stage(x, _steered(torch.bfloat16)), stage(x, _steered(torch.float32)))


@pytest.mark.parametrize("grad", [False, True])
def test_steering_in_float32_leaves_bfloat16_tokens_in_theirs(grad: bool) -> None:
    stage, x = make_stage().float(), torch.randn(1, 8, 16, 16).bfloat16()
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        out = stage(x, _steered(torch.float32))
        assert out.dtype == torch.bfloat16
        assert torch.equal(out, stage(x, _steered(torch.bfloat16)))


def test_float64_takes_no_steering_of_fewer_bits() -> None:
    """Probabilities go by it: what was made in float32 must not pass for float64."""
    stage, x = make_stage(), torch.randn(1, 8, 16, 16, dtype=torch.float64)
    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(RuntimeError, match="same dtype"):
            stage(x, {0: BlockSteer((Prompt(torch.zeros(3, 8, dtype=dtype)),))})
    plain = stage(x)
    assert plain.dtype == torch.float64
    steer = {0: BlockSteer((Prompt(torch.zeros(3, 8, dtype=torch.float64)),))}
    assert stage(x, steer).dtype == torch.float64


@pytest.mark.parametrize("name", ["tic", "nano", "song", "ngram", "s2c-hybrid-s"])
def test_latents_are_not_rounded_to_bfloat16(name: str) -> None:
    """The last layer is float32; in song, places where steering acts stand behind it."""
    torch.manual_seed(0)
    model, x = CompressionModel(narrow(CONFIGURATIONS[name]())).eval(), torch.rand(1, 3, 128, 128)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        y = model.g_a(x)
        for latent in (y, model.h_a(y)):
            assert latent.dtype == torch.float32
            assert (latent != latent.bfloat16()).float().mean() > 0.5
