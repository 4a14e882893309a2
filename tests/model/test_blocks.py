"""Window attention on maps of any size, against a plain reference, and in strips against the whole map."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from promptcodec.model import config
from promptcodec.model.base import CompressionModel
from promptcodec.model.layers import blocks
from promptcodec.model.layers.blocks import PAIRS, Block
from promptcodec.model.layers.mixers import WindowAttention
from promptcodec.model.presets.nano import nano
from promptcodec.model.presets.registry import tic
from promptcodec.model.steering import BlockSteer, Prompt

WINDOW = 4


def make_block(shift: int) -> Block:
    torch.manual_seed(0)
    block = Block(8, config.Stage(1, config.Attention(2, WINDOW)), shift > 0, 0.0).double().eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return block


def as_prompt(tokens: Tensor) -> Prompt:
    return Prompt(tokens if tokens.dim() == 2 else tokens.permute(0, 3, 1, 2))


def region(y: int, x: int, shift: int) -> tuple[int, int]:
    """The window, cut at the borders of the map, that a token belongs to; no cyclic shift, no padding."""
    return (y - shift) // WINDOW, (x - shift) // WINDOW


def plain_attention(mixer: WindowAttention, x: Tensor, prompts: Tensor | None) -> Tensor:
    """Attention token by token, straight from the definition."""
    _, height, width, channels = x.shape
    head = channels // mixer.heads
    qkv = mixer.qkv(x[0]).unflatten(-1, (3, mixer.heads, head))
    out = torch.empty_like(x[0])
    for y in range(height):
        for c in range(width):
            here = region(y, c, mixer.shift)
            near = [(v, u) for v in range(height) for u in range(width) if region(v, u, mixer.shift) == here]
            keys = [qkv[v, u, 1] for v, u in near]
            values = [qkv[v, u, 2] for v, u in near]
            side = 2 * WINDOW - 1
            rows = [(y - v + WINDOW - 1) * side + c - u + WINDOW - 1 for v, u in near]
            bias = [mixer.relative_bias[row] for row in rows]
            if prompts is not None:
                chosen = list(prompts) if prompts.dim() == 2 else [
                    prompts[0, v, u] for v in range(prompts.shape[1]) for u in range(prompts.shape[2])
                    if region(2 * v, 2 * u, mixer.shift) == here
                ]  # fmt: skip
                for token in chosen:
                    parts = mixer.qkv(token).unflatten(-1, (3, mixer.heads, head))
                    keys, values = [*keys, parts[1]], [*values, parts[2]]
                    bias.append(torch.zeros_like(bias[0]))
            logits = torch.einsum("hd,khd->kh", qkv[y, c, 0], torch.stack(keys)) / head**0.5 + torch.stack(bias)
            out[y, c] = torch.einsum("kh,khd->hd", logits.softmax(0), torch.stack(values)).flatten()
    return mixer.proj(out)[None]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 11), st.integers(1, 11), st.booleans(), st.sampled_from(["none", "shared", "map"]),
    st.sampled_from([1, 4, PAIRS]),
)  # fmt: skip
def test_any_size_matches_the_definition(height: int, width: int, shifted: bool, kind: str, pairs: int) -> None:
    block = make_block(WINDOW // 2 if shifted else 0)
    mixer = block.mixer
    assert isinstance(mixer, WindowAttention)
    x = torch.randn(1, height, width, 8, dtype=torch.float64)
    sizes = {"shared": (3, 8), "map": (1, -(-height // 2), -(-width // 2), 8)}
    prompts = None if kind == "none" else torch.randn(sizes[kind], dtype=torch.float64)
    steer = BlockSteer(() if prompts is None else (as_prompt(prompts),))
    torch.testing.assert_close(mixer(x, steer.prompts), plain_attention(mixer, x, prompts), atol=1e-10, rtol=0)
    whole = block(x, steer)
    with torch.no_grad(), mock.patch.object(blocks, "PAIRS", pairs):
        in_strips = block(x, steer)
        steer = BlockSteer(() if prompts is None else (as_prompt(prompts.float()),))
        in_pieces = block.float()(x.float(), steer)
    torch.testing.assert_close(in_strips, whole, atol=1e-10, rtol=0)
    torch.testing.assert_close(in_pieces.double(), whole, atol=2e-4, rtol=1e-4)


def test_batches_do_not_mix() -> None:
    block = make_block(2)
    x = torch.randn(3, 7, 9, 8, dtype=torch.float64)
    prompts = torch.randn(3, 4, 5, 8, dtype=torch.float64)
    with torch.no_grad():
        together = block(x, BlockSteer((as_prompt(prompts),)))
        alone = torch.cat([block(x[i : i + 1], BlockSteer((as_prompt(prompts[i : i + 1]),))) for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-12, rtol=0)
    torch.testing.assert_close(block(x, BlockSteer((as_prompt(prompts),))), alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 70), (63, 65), (130, 40)])
def test_models_take_any_size(height: int, width: int) -> None:
    x, small = torch.rand(1, 3, height, width), tic(16, 32)
    with torch.no_grad():
        for model, q in ((CompressionModel(small), None), (CompressionModel(nano()), torch.tensor([0.5]))):
            out = model.eval()(x, q)
            assert out["x_hat"].shape == x.shape
            assert out["likelihoods"]["z"].shape[2:] == (-(-height // 64), -(-width // 64))


def test_counts_of_the_presets() -> None:
    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    model = CompressionModel(tic())
    assert count(model) == 7_510_723
    parts = {name: count(child) for name, child in model.named_children()}
    assert parts == {"g_a": 2_738_880, "h_a": 901_952, "h_s": 1_123_392, "g_s": 2_738_691, "prior": 7_808}
    layers = [count(layer) for layer in model.g_a.layers]
    assert layers == [9_728, 268_560, 147_584, 537_120, 147_584, 805_680, 221_376, 601_248]
    assert [count(l) for l in model.h_a.layers] == [221_312, 266_528, 147_584, 266_528]
    assert [count(l) for l in model.h_s.layers] == [266_528, 147_584, 266_528, 442_752]
    layers = [count(layer) for layer in model.g_s.layers]
    assert layers == [601_248, 221_312, 805_680, 147_584, 537_120, 147_584, 268_560, 9_603]
    assert count(CompressionModel(tic(192, 320))) == 17_658_179


def test_configurations_survive_json() -> None:
    for cfg in (tic(), nano()):
        assert config.Model.from_json(cfg.to_json()) == cfg


def test_building_a_model_to_load_ends_whatever_lies_in_memory(monkeypatch):
    """Truncated normal values are drawn until they fit; without draws, what an allocation held would never."""
    from promptcodec.model.inference.defaults import about_to_load

    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **options: empty(*size, **options).fill_(1e30))
    with about_to_load():
        layer = torch.nn.Linear(8, 8)
        torch.nn.init.trunc_normal_(layer.weight.data, std=0.02)
        torch.nn.init.trunc_normal_(layer.weight.data, mean=0.0, std=4.0, a=-1.0, b=1.0)
    assert layer.weight.abs().max() <= 1
