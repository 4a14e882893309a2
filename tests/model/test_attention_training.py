"""Attention in training on CPUs equals torch's own, gradients included, by compiled kernels and without them."""

import importlib.util

import pytest
import torch
from torch.nn import functional as F

from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers import attention_training
from promptcodec.model.layers.attention import window_attention


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("windows", [1, 5, 37])
@pytest.mark.parametrize("prompts", [3, 16])  # 19 keys are no whole vectors
def test_it_is_attention(windows: int, masked: bool, prompts: int) -> None:
    torch.manual_seed(windows)
    keys = 16 + prompts
    if importlib.util.find_spec("llvmlite") is not None:
        assert (attention_training._kernels(keys, 4, torch.float32) is not None) == (prompts == 16)
    q, k, v = (torch.randn(windows, 8, 16, 4, requires_grad=True) for _ in range(3))
    k, v = (torch.cat([t, t[:, :, :prompts]], 2).detach().requires_grad_() for t in (k, v))  # more keys than queries
    bias = torch.randn(windows if masked else 1, 8, 16, keys)
    if masked:
        bias = bias.masked_fill(torch.rand(windows, 1, 16, keys) < 0.5, float("-inf"))
        bias[..., 0] = 0.0
    bias.requires_grad_()
    weight = torch.randn(windows, 8, 16, 4)
    results = []
    for attention in (window_attention, lambda q, k, v, b: F.scaled_dot_product_attention(q, k, v, attn_mask=b)):
        out = attention(q, k, v, bias)
        results.append([out, *torch.autograd.grad((out * weight).sum(), (q, k, v, bias))])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_bfloat16_is_close() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(20, 2, 64, 16).bfloat16().requires_grad_() for _ in range(3))
    bias = torch.randn(1, 2, 64, 64).bfloat16().requires_grad_()
    out = window_attention(q, k, v, bias)
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out.float().square().sum(), (q, k, v, bias))
    full = [t.detach().float().requires_grad_() for t in (q, k, v, bias)]
    exact = window_attention(*full)
    torch.testing.assert_close(out.float(), exact, atol=0.02, rtol=0.02)
    for ours, theirs in zip(grads, torch.autograd.grad(exact.square().sum(), full), strict=True):
        assert (ours.float() - theirs).norm() < 0.02 * theirs.norm()


def test_compiled_and_by_torch(threads) -> None:
    """In bfloat16, and from any number of threads, the kernels do what torch's operators do."""
    pytest.importorskip("llvmlite", reason="compiled kernels need the extra 'fast'")
    torch.manual_seed(0)
    q, k, v = (torch.randn(20, 2, 64, 16).bfloat16().requires_grad_() for _ in range(3))
    bias = torch.randn(20, 2, 64, 64).requires_grad_()
    weight = torch.randn(20, 2, 64, 16).bfloat16()

    def results() -> list[torch.Tensor]:
        out = window_attention(q, k, v, bias)
        return [out, *torch.autograd.grad(out, (q, k, v, bias), weight)]

    threads(1)
    compiled = results()
    threads(2)
    for one, two in zip(compiled, results(), strict=True):
        assert torch.equal(one, two)
    with torch_alone():
        plain = results()
    for one, two in zip(compiled, plain, strict=True):
        assert (one.float() - two.float()).norm() < 0.01 * two.float().norm()
        assert not torch.equal(one, two)
