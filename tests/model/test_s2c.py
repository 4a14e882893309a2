"""Blocks of paper 004 against the author's numbers."""

import pytest
import torch
from golden import assert_matches, mistakes, part

from promptcodec.model import config
from promptcodec.model.entropy.context import CheckerboardConv
from promptcodec.model.layers.blocks import Block
from promptcodec.model.layers.s2c import DepthwiseConv, S2CConv, S2CIdentity, SeparableConvMixer

NAMES = (
    ("mixer.conv1.0.", "mixer.into."), ("mixer.depth_conv.", "mixer.depthwise."), ("mixer.conv2.", "mixer.proj."),
    ("mixer.adaptor.", "skip."), ("mlp.project_in.", "ffn.into."), ("mlp.project_out.", "ffn.out."),
    ("ffn.project_in.", "ffn.into."), ("ffn.project_out.", "ffn.out."), ("norm2.", "norm."),
)  # fmt: skip


def state(weights, norm="norm."):
    """The author's parameters under our names; 1x1 convolutions are linear layers here."""
    found = {}
    for key, value in weights.items():
        for theirs, name in NAMES:
            key = key.replace(theirs, norm if name == "norm." else name)
        found[key] = value[:, :, 0, 0] if value.dim() == 4 and value.shape[-1] == 1 else value
    return found


@pytest.fixture(scope="module")
def s2c(vectors):
    return load(vectors)


def load(vectors):
    tensors = vectors("s2c_blocks")
    inputs = {k: v.permute(0, 2, 3, 1) for k, v in part(tensors, "input/").items()}
    return tensors, part(tensors, "output/"), inputs


def weights(tensors, name):
    return part(tensors, f"param/{name}.")


@pytest.mark.parametrize("gradients", [True, False])
def test_convolutional_blocks(s2c, gradients):
    tensors, golden, inputs = s2c
    with torch.set_grad_enabled(gradients):
        for name, out in (("s2c_conv_same", 8), ("s2c_conv_change", 12)):
            layer = S2CConv(8, out).double()
            layer.load_state_dict(state(weights(tensors, name)))
            assert_matches(layer(inputs["x"]).permute(0, 3, 1, 2), golden, name, 1e-9)
            mixed = layer.mixer(inputs["x"]) + layer.skip(inputs["x"])
            assert mixed.shape[-1] == out
        layer = S2CIdentity(8, 12).double()
        own = state(weights(tensors, "s2c_identity_layer"))
        layer.load_state_dict(own)
        assert_matches(layer(inputs["x"]).permute(0, 3, 1, 2), golden, "s2c_identity_layer", 1e-9)
        separable = {f"mixer.{k}": v for k, v in weights(tensors, "sepconv_same").items()}
        mixer = SeparableConvMixer(8, 8).double()
        mixer.load_state_dict({k.removeprefix("mixer."): v for k, v in state(separable).items()})
        assert_matches((inputs["x"] + mixer(inputs["x"])).permute(0, 3, 1, 2), golden, "sepconv_same", 1e-9)


def test_blocks_of_a_stage(s2c):
    tensors, golden, inputs = s2c
    block = Block(8, config.Stage(1, config.SeparableConv(bias=True), 4.0, ffn="gated", norm_eps=1e-6), False, 0.0)
    block.double().load_state_dict(state(weights(tensors, "s2c_conv_same"), "norm2."))
    assert_matches(block(inputs["x"]).permute(0, 3, 1, 2), golden, "s2c_conv_same", 1e-9)
    stage = config.Stage(1, config.Attention(8, 8, relative=False), 4.0, ffn="gated", norm_eps=1e-6)
    block = Block(16, stage, False, 0.0).double()
    attention = {
        k.replace("wqkv.", "qkv.").replace("win_mhsa.", ""): v
        for k, v in weights(tensors, "window_attention_h8").items()
    }
    own = state(weights(tensors, "s2c_attention"), "norm2.") | {f"mixer.{k}": v for k, v in attention.items()}
    block.load_state_dict(own)
    assert_matches(block.mixer(inputs["xa"]).permute(0, 3, 1, 2), golden, "window_attention_h8", 1e-9)
    assert_matches(block(inputs["xa"]).permute(0, 3, 1, 2), golden, "s2c_attention", 1e-9)
    with torch.no_grad():
        assert_matches(block(inputs["xa"]).permute(0, 3, 1, 2), golden, "s2c_attention", 1e-9)


@pytest.mark.parametrize(
    ("check", "mistake"),
    [
        (lambda s2c: test_convolutional_blocks(s2c, False), mistakes.other_norm_epsilon),
        (lambda s2c: test_convolutional_blocks(s2c, False), mistakes.steeper_leaky_relu),
        (test_blocks_of_a_stage, mistakes.other_norm_epsilon),
        (test_blocks_of_a_stage, mistakes.logits_divided_by_the_token_width),
        (test_blocks_of_a_stage, mistakes.heads_out_of_order),
    ],
)
def test_mistakes_are_caught(vectors, monkeypatch, check, mistake):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        check(load(vectors))


def test_feed_forwards(s2c):
    tensors, golden, inputs = s2c
    block = Block(8, config.Stage(1, None, 4.0, ffn="gated", norm_eps=1e-6), False, 0.0).double()
    own = state({f"mlp.{k}": v for k, v in weights(tensors, "gated_ffn").items()})
    block.ffn.load_state_dict({k.removeprefix("ffn."): v for k, v in own.items()})
    assert_matches(block.ffn(inputs["x"]).permute(0, 3, 1, 2), golden, "gated_ffn", 1e-9)
    counts = {"vanilla": 8, "additive": 12, "gated": 12}
    for kind, factor in counts.items():
        block = Block(16, config.Stage(1, None, 4.0, ffn=kind), False, 0.0)
        assert sum(p.numel() for p in block.ffn.parameters()) == factor * 16**2
        assert block(torch.randn(1, 3, 4, 16)).shape == (1, 3, 4, 16)
    block = Block(16, config.Stage(1, config.Attention(2, 4), ffn="none"), True, 0.0)
    assert not any(name.startswith("ffn") for name, _ in block.named_parameters())
    x = torch.randn(1, 6, 7, 16)
    whole = block(x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), whole)


@pytest.mark.parametrize("bias", [True, False])
def test_depthwise_in_float64_is_the_convolution(bias):
    torch.manual_seed(0)
    conv = DepthwiseConv(6, 5, bias).double()
    x = torch.randn(2, 7, 3, 6, dtype=torch.float64)
    expected = conv(x)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected, atol=1e-13, rtol=0)


def test_block_sizes_of_the_paper():
    def count(mixer):
        stage = config.Stage(1, mixer, 4.0, ffn="gated", norm_eps=1e-6)
        return sum(p.numel() for p in Block(192, stage, False, 0.0).parameters())

    assert count(None) == 442_752
    assert count(config.SeparableConv()) == 521_280
    assert count(config.SeparableConv(bias=True)) == 521_856
    assert count(config.Attention(8, 8, relative=False)) == 591_360
    assert CheckerboardConv(16, 32).weight.shape == (32, 16, 5, 5)
