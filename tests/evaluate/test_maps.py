"""Maps of bits and receptive fields on models whose answers are known."""

import numpy as np
import pytest
import torch

from promptcodec.errors import UsageError
from promptcodec.evaluate.maps import bit_allocation, channel_bits, plot_map, receptive_field, strongest_channel
from promptcodec.model.base import CompressionModel
from promptcodec.model.presets import PRESETS, tic


def test_bits_add_up():
    torch.manual_seed(0)
    model = CompressionModel(PRESETS["s2c-nano"]()).eval()
    x, q = torch.rand(2, 3, 64, 130), torch.tensor([0.3, 0.8])
    bits = channel_bits(model, x, q)
    assert bits.shape == (2, 320, 4, 12)
    with torch.no_grad():
        expected = -model(x, q)["likelihoods"]["y"].log2().sum().item()
    assert bits.sum() == pytest.approx(expected, rel=1e-5)
    assert bit_allocation(bits).sum() * 320 == pytest.approx(expected, rel=1e-5)
    channel, strongest = strongest_channel(bits)
    assert strongest.shape == (2, 4, 12)
    assert strongest[1].sum() == pytest.approx(bits[1].sum(axis=(1, 2)).max())
    assert channel.dtype == np.int64


def test_receptive_field_of_a_convolution_is_its_kernel():
    conv = torch.nn.Conv2d(3, 5, 7, stride=2, padding=3)
    torch.nn.init.ones_(conv.weight)
    field = receptive_field(conv, torch.rand(2, 3, 64, 64))
    assert field.sum() == pytest.approx(49)
    assert np.argwhere(field).min(axis=0).tolist() == [29, 29]
    with pytest.raises(UsageError, match="multiples of 64"):
        receptive_field(conv, torch.rand(1, 3, 60, 64))


def test_attention_sees_further_than_its_window(tmp_path):
    torch.manual_seed(0)
    model = CompressionModel(tic(16, 32)).eval()
    field = receptive_field(model.g_a, torch.rand(1, 3, 128, 128))
    assert (field > 0).sum() > (16 * 8) ** 2 / 2
    plot_map(field, tmp_path / "field.png", "gradient")
    assert (tmp_path / "field.png").stat().st_size > 1000
