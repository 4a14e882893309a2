"""Depthwise convolutions that learn on the CPU: compiled gradients against torch's, by vectors of every width."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

pytest.importorskip("llvmlite", reason="compiled kernels need the extra 'fast'")

from promptcodec.model.kernels.compiled import depthwise as depthwise_code
from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers import depthwise_training as layer
from promptcodec.model.layers.mixers import depthwise


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gradients(conv: nn.Conv2d, x: Tensor, after: Tensor) -> tuple[Tensor, ...]:
    with torch.enable_grad():
        return torch.autograd.grad(depthwise(conv, x), [x, *conv.parameters()], after)


def compare(samples: int, channels: int, height: int, width: int, kernel: int, bias: bool) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels, bias=bias)
    x = torch.randn(samples, height, width, channels).permute(0, 3, 1, 2).requires_grad_()
    after = torch.randn(samples, height, width, channels).permute(0, 3, 1, 2)
    assert type(depthwise(conv, x).grad_fn).__name__ == "_DepthwiseBackward"
    with torch_alone():
        expected = gradients(conv, x, after)
    for ours, torchs in zip(gradients(conv, x, after), expected, strict=True):
        assert ours.shape == torchs.shape
        torch.testing.assert_close(ours, torchs, atol=2e-4, rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 3), st.sampled_from([16, 48, 64]), st.integers(1, 19), st.integers(1, 19),
    st.sampled_from([3, 5, 7]), st.booleans(),
)  # fmt: skip
def test_any_size(samples, channels, height, width, kernel, bias):
    compare(samples, channels, height, width, kernel, bias)


@pytest.mark.parametrize("registers", [(16, 32), (8, 16), (4, 32)])
def test_vectors_of_every_width(registers, monkeypatch):
    if registers[0] > depthwise_code.vector_registers()[0]:
        pytest.skip("this processor has no such vectors")
    monkeypatch.setattr(depthwise_code, "vector_registers", lambda: registers)
    monkeypatch.setattr(layer, "_compiled", layer._compiled.__wrapped__)
    monkeypatch.setattr(layer, "_weight_gradient", layer._weight_gradient.__wrapped__)
    compare(2, 32, 9, 14, 5, bias=True)


def test_threads_change_nothing(threads):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 5, padding=2, groups=64)
    x, after = (torch.randn(2, 33, 21, 64).permute(0, 3, 1, 2) for _ in range(2))
    x.requires_grad_()
    threads(1)
    alone = gradients(conv, x, after)[1]
    threads(2)
    assert torch.equal(gradients(conv, x, after)[1], alone)


def test_by_torch_where_the_kernel_does_not_fit(monkeypatch):
    conv = nn.Conv2d(6, 6, 5, padding=2, groups=6)  # no whole vector
    x = torch.randn(1, 8, 8, 6).permute(0, 3, 1, 2)
    assert "Conv" in type(depthwise(conv, x).grad_fn).__name__
    fits = nn.Conv2d(16, 16, 5, padding=2, groups=16)
    x = torch.randn(1, 8, 8, 16).permute(0, 3, 1, 2)
    assert "Conv" in type(depthwise(fits, x.contiguous()).grad_fn).__name__  # channels first
    fits.weight.requires_grad_(False)
    assert "Conv" in type(depthwise(fits, x).grad_fn).__name__  # the weights are frozen
    fits.weight.requires_grad_(True)
    monkeypatch.setattr(layer, "_weight_gradient", lambda kernel, channels: None)
    assert "Conv" in type(depthwise(fits, x).grad_fn).__name__
