"""Transposed convolutions by pixel shuffle against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from promptcodec.model.kernels.workers import torch_alone
from promptcodec.model.layers import transforms
from promptcodec.model.layers.transforms import Upsample


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_a_transposed_convolution(size, bias, monkeypatch):
    layer, x = Upsample(12, 3, 5, 2, 2, output_padding=1, bias=bias), torch.randn(2, 12, *size)
    expected = nn.ConvTranspose2d.forward(layer, x)
    shuffled = []
    real = transforms.F.pixel_shuffle
    monkeypatch.setattr(transforms.F, "pixel_shuffle", lambda x, by: shuffled.append(x.shape) or real(x, by))
    with torch.no_grad():
        found = layer(x)
    assert shuffled == [(2, 12, *size)]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("channels", "kernel", "dtype"), [(9, 5, torch.float32), (3, 3, torch.float32), (3, 5, torch.float64)]
)
def test_others_stay_as_they_are(channels, kernel, dtype):
    layer = Upsample(8, channels, kernel, 2, kernel // 2, output_padding=1).to(dtype)
    x = torch.randn(1, 8, 4, 5, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(layer(x), nn.ConvTranspose2d.forward(layer, x))


def test_with_gradients_or_alone_it_stays_as_it_is():
    layer, x = Upsample(8, 3, 5, 2, 2, output_padding=1), torch.randn(1, 8, 4, 5)
    assert torch.equal(layer(x), nn.ConvTranspose2d.forward(layer, x))
    with torch.no_grad(), torch_alone():
        assert torch.equal(layer(x), nn.ConvTranspose2d.forward(layer, x))
