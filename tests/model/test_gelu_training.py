"""GELU that learns on the CPU: compiled gradients against torch's, in both precisions, by vectors of every width."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("llvmlite", reason="compiled kernels need the extra 'fast'")

from promptcodec.model.kernels.compiled import gelu as gelu_code
from promptcodec.model.layers import gelu_training
from promptcodec.model.layers.gelu_training import learning_gated_gelu, learning_gelu
from promptcodec.model.layers.pointwise import PairedFeedForward

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2**-7}


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def gated(h: Tensor) -> Tensor:
    a, b = h.chunk(2, -1)
    return F.gelu(a) * b


def compare(rows: int, hidden: int, dtype: torch.dtype) -> None:
    """Against torch in float64, over values of all sizes."""
    torch.manual_seed(0)
    for ours, exact, name in ((learning_gelu, F.gelu, "_Gelu"), (learning_gated_gelu, gated, "_GatedGelu")):
        h = (torch.randn(rows, 2 * hidden) * torch.logspace(-3, 1.2, 2 * hidden)).to(dtype).requires_grad_()
        out = ours(h)
        assert type(out.grad_fn).__name__ == f"{name}Backward"
        after = torch.randn_like(out)
        wide = h.detach().double().requires_grad_()
        expected = exact(wide)
        assert out.dtype == dtype
        close(out, expected, dtype)
        close(*(torch.autograd.grad(o, i, after.to(o.dtype))[0] for o, i in ((out, h), (expected, wide))), dtype)


def close(ours: Tensor, exact: Tensor, dtype: torch.dtype) -> None:
    torch.testing.assert_close(ours.double(), exact, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.sampled_from([16, 48, 128]), st.sampled_from(list(TOLERANCE)))
def test_any_size(rows, hidden, dtype):
    compare(rows, hidden, dtype)


@pytest.mark.parametrize("registers", [(16, 32), (8, 16), (4, 32)])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_vectors_of_every_width(registers, dtype, monkeypatch):
    if registers[0] > gelu_code.vector_registers()[0]:
        pytest.skip("this processor has no such vectors")
    monkeypatch.setattr(gelu_code, "vector_registers", lambda: registers)
    kernels = gelu_code.gelu_kernels(dtype == torch.bfloat16)
    assert kernels is not None
    assert kernels.lanes == registers[0]
    monkeypatch.setattr(gelu_training, "_kernels", lambda dtype: kernels)
    compare(5, 32, dtype)


def test_threads_change_nothing(threads):
    torch.manual_seed(0)
    h = torch.randn(37, 64).bfloat16().requires_grad_()
    results = []
    for count in (1, 2):
        threads(count)
        out = learning_gated_gelu(h)
        results.append((out, *torch.autograd.grad(out, h, torch.ones_like(out))))
    assert all(map(torch.equal, *results))


def test_what_is_not_finite_stays_so():
    """A batch that has overflowed has to be seen."""
    x = torch.tensor([float("nan"), float("inf"), 1.0, -2.0] * 8).bfloat16().requires_grad_()
    (gradient,) = torch.autograd.grad(learning_gelu(x).sum(), x)
    assert gradient[0].isnan()
    overflowed = torch.full((32,), float("inf")).bfloat16()
    y = torch.ones(32).bfloat16().requires_grad_()
    assert not torch.autograd.grad(learning_gelu(y), y, overflowed)[0].isfinite().any()


def test_by_torch_where_the_kernels_do_not_fit():
    odd = torch.randn(3, 10, requires_grad=True)
    assert type(learning_gelu(odd).grad_fn).__name__ == "GeluBackward0"
    assert torch.equal(learning_gated_gelu(odd), gated(odd))
    rows = torch.randn(64, 32, requires_grad=True).T
    assert type(learning_gelu(rows).grad_fn).__name__ == "GeluBackward0"  # not contiguous
    assert learning_gelu(torch.randn(2, 32)).grad_fn is None


def test_halves_of_blocks_use_them():
    ffn = PairedFeedForward(16, 4.0, gated=True)
    x = torch.randn(2, 3, 3, 16)
    learned = ffn(x)
    with torch.inference_mode():
        plain = ffn(x)
    torch.testing.assert_close(learned, plain, atol=1e-6, rtol=1e-5)
