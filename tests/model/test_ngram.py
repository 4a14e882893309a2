"""N-gram Swin layers against the authors' numbers, on small maps, under a region mask, and their counts."""

import pytest
import torch
from golden import assert_matches, mistakes, part

from promptcodec.errors import UsageError
from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.layers.blocks import Block
from promptcodec.model.layers.ngram import NgramContext, _reflected
from promptcodec.model.presets.papers import with_ngram
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import BlockSteer, Prompt

NAMES = {
    "attn.qkv.": "mixer.qkv.", "attn.proj.": "mixer.proj.", "attn.logit_scale": "mixer.logit_scale",
    "attn.relative_position_bias_table": "mixer.relative_bias", "ffn.fc1.": "ffn.0.", "ffn.fc2.": "ffn.2.",
    "ngram_window_partition.ngram_context.": "mixer.ngram.", "ngram_attn.": "attention.",
    "unigram_embed.": "unigram.",
}  # fmt: skip


def ours(key: str) -> str:
    for theirs, name in NAMES.items():
        if key.startswith(theirs):
            rest = key.removeprefix(theirs)
            rest = "attention." + rest.removeprefix("ngram_attn.") if rest.startswith("ngram_attn.") else rest
            return (name + rest).replace("relative_position_bias_table", "relative_bias").replace("_embed", "")
    return key


def make_block(heads: int, window: int, shifted: bool, gelu: str = "none", width: int = 16) -> Block:
    mixer = config.Attention(heads, window, ngram=2, cosine=True)
    stage = config.Stage(1, mixer, norm="post", gelu=gelu)
    return Block(width, stage, shifted, 0.0).double().eval()


@pytest.mark.parametrize("case", ["w8.16x16", "w8.24x16", "w4.8x12"])
def test_layer(vectors, case):
    tensors = vectors("ngram_nstb")
    golden, weights = part(tensors, f"output/{case}/"), part(tensors, f"param/{case[:3]}")
    state = {ours(k): v.flatten() if "logit_scale" in k else v for k, v in weights.items()}
    height, width = map(int, case[3:].split("x"))
    x = tensors[f"input/x.{case}"].double().unflatten(1, (height, width))
    window = int(case[1])
    heads = {8: 4, 4: 8}[window]
    block = make_block(heads, window, False)
    block.load_state_dict(state)
    context = block.mixer.ngram
    unigrams = context.unigram(x.permute(0, 3, 1, 2))
    assert_matches(unigrams, golden, "unigram", 1e-9)
    assert_matches(_reflected(unigrams, 1, True), golden, "forward_padded", 1e-9)
    assert_matches(_reflected(unigrams, 1, False), golden, "backward_padded", 1e-9)
    for found, name in zip(context.both_ways(unigrams), ("forward_context", "backward_context"), strict=True):
        assert_matches(found, golden, name, 1e-9)
    assert_matches(context(x)[:, ::window, ::window].permute(0, 3, 1, 2), golden, "merged_context", 1e-9)
    for shift in (0, window // 2):
        for gelu in ("none", "tanh") if window == 4 else ("none",):
            block = make_block(heads, window, shift > 0, gelu)
            block.load_state_dict(state)
            name = f"shift{shift}/layer_output{'.tanh' if gelu == 'tanh' else ''}"
            assert_matches(block(x).flatten(1, 2), golden, name, 1e-9)


@pytest.mark.parametrize(
    "mistake",
    [
        mistakes.unclamped_logit_scale, mistakes.repeated_edge, mistakes.transposed_relative_bias,
        mistakes.other_norm_epsilon, mistakes.no_shifts,
    ],
)  # fmt: skip
@pytest.mark.parametrize("case", ["w8.24x16", "w4.8x12"])
def test_mistakes_are_caught(vectors, monkeypatch, case, mistake):
    mistake(monkeypatch)
    with pytest.raises(AssertionError):
        test_layer(vectors, case)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (3, 30), (9, 17)])
def test_any_size_down_to_a_single_window(height, width):
    torch.manual_seed(0)
    block = make_block(4, 8, True)
    x = torch.randn(2, height, width, 16, dtype=torch.float64)
    out = block(x)
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    alone = torch.cat([block(x[:1]), block(x[1:])])
    torch.testing.assert_close(out, alone, atol=1e-12, rtol=0)


def test_the_region_mask_limits_the_context():
    torch.manual_seed(0)
    context = NgramContext(16, 4, 8, 2).double()
    x = torch.randn(1, 16, 24, 16, dtype=torch.float64)
    region = torch.zeros(1, 1, 64, 96, dtype=torch.float64)  # four times the map's resolution
    region[..., 48:] = 1
    everywhere, limited = context(x), context(x, region)
    assert torch.equal(limited[:, :, 12:], everywhere[:, :, 12:])
    assert not limited[:, :, :12].any()
    assert torch.equal(context(x, torch.ones(1, 1, 5, 7)), everywhere)


def test_no_region_is_the_same_block_without_context():
    torch.manual_seed(0)
    model = CompressionModel(with_ngram(tic(32, 32), "small")).eval()
    x = torch.rand(1, 3, 64, 64)
    nothing, everything = torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 1, 1)
    with torch.no_grad():
        y = model.g_a(x)
        torch.testing.assert_close(model.g_a(x, region=everything), y)
        assert (model.g_a(x, region=nothing) - y).abs().max() > 1e-6
    with torch.no_grad():
        assert model(torch.rand(1, 3, 3, 70))["x_hat"].shape == (1, 3, 3, 70)


def test_wider_ngrams_and_prompts():
    torch.manual_seed(0)
    mixer = config.Attention(4, 4, ngram=3, cosine=True)
    block = Block(16, config.Stage(1, mixer, norm="post"), True, 0.0)
    x = torch.randn(1, 10, 14, 16)
    assert block(x).shape == x.shape
    prompts = BlockSteer((Prompt(torch.randn(3, 16)),))
    assert (block(x, prompts) - block(x)).abs().max() > 1e-4
    with pytest.raises(UsageError, match="halves 12 channels"):
        NgramContext(12, 4, 8, 2)


@pytest.mark.parametrize(
    ("cosine", "post", "tanh", "ngram"),
    [(False, False, False, 2), (True, False, False, 0), (False, True, False, 0), (False, False, True, 0)],
)
def test_each_switch_alone(cosine, post, tanh, ngram):
    torch.manual_seed(0)
    plain = CompressionModel(tic(32, 32)).eval()
    cfg = with_ngram(tic(32, 32), "switched", "all", ngram, cosine, post, tanh)
    assert config.Model.from_json(cfg.to_json()) == cfg
    model = CompressionModel(cfg).eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert (model.g_a(x) - plain.g_a(x)).abs().max() > 1e-9


def test_counts(vectors):
    models = vectors.counts()

    def total(model: config.Model) -> int:
        return sum(p.numel() for p in CompressionModel(model).parameters())

    base = tic(192, 320)
    plain = total(base)
    for scope in ("hyper", "main", "all"):
        params = models[f"paper003_ngram_{scope}"]["params"]
        context = total(with_ngram(base, "context", scope, cosine=False, post=False, tanh=False)) - plain
        assert context + params["kao_base"] == params["total"]
        cosine = total(with_ngram(base, "all switches", scope)) - plain
        assert cosine + params["kao_base"] == params["total_with_scaled_cosine_layer_attention"]
