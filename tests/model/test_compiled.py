"""Compiled kernels against torch's operators, on maps of any size, with prompts, and by vectors of every width."""

from __future__ import annotations

import logging
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("llvmlite", reason="compiled kernels need the extra 'fast'")

from promptcodec.model import config
from promptcodec.model.kernels.compiled import attention as attention_code
from promptcodec.model.kernels.compiled import code
from promptcodec.model.kernels.compiled import rows as rows_code
from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers import blocks, compiled_windows
from promptcodec.model.layers.blocks import Block
from promptcodec.model.steering import BlockSteer, Prompt


@pytest.fixture(autouse=True)
def small_maps_too(monkeypatch):
    monkeypatch.setattr(blocks, "COMPILED_TOKENS", 0)


def made(channels: int, heads: int, window: int, shifted: bool, relative: bool = True) -> Block:
    torch.manual_seed(0)
    stage = config.Stage(1, config.Attention(heads, window, relative=relative))
    block = Block(channels, stage, shifted, 0.0).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block


def compare(block: Block, x: torch.Tensor, steer: BlockSteer = BlockSteer()) -> None:  # noqa: B008
    with torch.inference_mode():
        with torch_alone():
            expected = block(x, steer)
        with mock.patch.object(compiled_windows, "_call", side_effect=compiled_windows._call) as calls:
            found = block(x, steer)
    assert calls.call_count
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 21), st.integers(1, 21), st.booleans(), st.booleans(),
    st.sampled_from([(16, 2, 4), (32, 2, 4), (48, 2, 8), (24, 2, 8), (40, 1, 4), (36, 1, 4)]),
    st.sampled_from(["none", "shared", "map", "two"]),
)  # fmt: skip
def test_any_size_and_prompts(height, width, shifted, relative, sizes, kind):
    channels, heads, window = sizes
    block, shared = made(channels, heads, window, shifted, relative), Prompt(torch.randn(3, channels))
    of_map = Prompt(torch.randn(1, channels, -(-height // 2), -(-width // 2)))
    prompts = {"none": (), "shared": (shared,), "map": (of_map,), "two": (shared, of_map)}[kind]
    compare(block, torch.randn(1, height, width, channels), BlockSteer(prompts))


def test_batches_have_prompts_of_their_own():
    block = made(32, 2, 4, True)
    compare(block, torch.randn(3, 9, 14, 32), BlockSteer((Prompt(torch.randn(3, 5, 32)),)))


@pytest.mark.parametrize("registers", [(4, 32), (8, 16), (16, 32)])
def test_vectors_of_other_processors(registers, monkeypatch):
    for module in (attention_code, rows_code):
        monkeypatch.setattr(module, "vector_registers", lambda: registers)
    compiled_windows._kernels.cache_clear()
    try:
        compare(made(128, 8, 8, True), torch.randn(1, 24, 40, 128), BlockSteer((Prompt(torch.randn(16, 128)),)))
    finally:
        compiled_windows._kernels.cache_clear()


def test_what_no_kernel_is_made_for():
    assert attention_code.attention(64, 0, 256) is None
    assert attention_code.attention(9, 0, 16) is None
    assert attention_code.attention(64, 0, 6) is None
    assert rows_code.gather_norm(4096, 1e-5) is None


def test_large_logits_and_what_is_hidden():
    block = made(32, 2, 4, True)
    torch.nn.init.normal_(block.mixer.qkv.weight, std=4.0)
    compare(block, torch.randn(1, 6, 7, 32))


def test_threads_do_not_change_results():
    block, x = made(32, 2, 8, True), torch.randn(1, 70, 90, 32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with torch.no_grad():
                found.append(block(x))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("x", [0.0, -0.3, -1.0, -17.5, -99.0])
def test_powers_of_two(x):
    function = code.Code("power", 1, 0)
    pointer, kind = function.function.args[0], code.ir.VectorType(code.FLOAT, 4)
    function.store(function.exp2(function.load(pointer, kind)), pointer)
    values = torch.full((4,), x)
    function.compiled()(values.data_ptr())
    torch.testing.assert_close(values, torch.full((4,), 2.0**x), atol=0, rtol=3e-7)


def test_hidden_tokens_weigh_nothing():
    function = code.Code("power", 1, 0)
    pointer, kind = function.function.args[0], code.ir.VectorType(code.FLOAT, 4)
    function.store(function.exp2(function.load(pointer, kind)), pointer)
    values = torch.tensor([-101.0, -1e4, -1e30, -2e30])
    function.compiled()(values.data_ptr())
    assert (values >= 0).all()
    assert (values < 1e-29).all()


def test_without_a_compiler_it_goes_on(monkeypatch, caplog):
    compiled_windows._kernels.cache_clear()
    monkeypatch.setattr(
        code.binding, "create_mcjit_compiler", mock.Mock(side_effect=RuntimeError("no executable memory"))
    )
    block, x = made(32, 2, 4, True), torch.randn(1, 9, 9, 32)
    try:
        with torch.no_grad(), caplog.at_level(logging.WARNING):
            found = block(x)
            with torch_alone():
                expected = block(x)
    finally:
        compiled_windows._kernels.cache_clear()
    assert "no executable memory" in caplog.text
    assert torch.equal(found, expected)


def test_gradients_go_by_torch():
    block, x = made(32, 2, 4, True), torch.randn(1, 9, 9, 32, requires_grad=True)
    with mock.patch.object(compiled_windows, "_call") as calls:
        block(x).sum().backward()
    assert not calls.call_count
    assert x.grad is not None
