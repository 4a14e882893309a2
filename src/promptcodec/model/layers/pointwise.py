"""What a token does with its own channels: linear layers, quick on CPUs, and the feed-forward halves of blocks.

Linear layers go through oneDNN where it beats the BLAS that torch calls, by up to 2.5 times. All work on the last axis.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model import config
from promptcodec.model.layers.gelu_training import learning_gated_gelu, learning_gelu


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return ``layer(x)``, by the quickest way that gives the same numbers up to summation order."""
    if _onednn_helps(x):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "none", [], "")  # type: ignore[no-any-return]
    return F.linear(x, layer.weight, layer.bias)


def linear_gelu(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return ``gelu(layer(x))`` with the exact (erf) GELU, in one pass over memory where oneDNN can."""
    if _onednn_helps(x):
        return torch.ops.mkldnn._linear_pointwise(x, layer.weight, layer.bias, "gelu", [], "none")  # type: ignore[no-any-return]
    out = F.linear(x, layer.weight, layer.bias)
    return learning_gelu(out) if out.requires_grad else F.gelu(out)


def _onednn_helps(x: Tensor) -> bool:
    """Tell whether oneDNN helps, in float32 inference on the CPU alone.

    The operator has no gradient, and float64 must stay as it is.
    """
    return bool(
        _onednn_pays()
        and torch.backends.mkldnn.enabled
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _onednn_pays() -> bool:
    """Tell whether oneDNN is quicker: not with AVX2, where MKL is the quicker one.

    The AVX-512 of AMD's processors it leaves unused.
    """
    return torch.backends.cpu.get_cpu_capability() != "AVX2" and onednn_linear_works()


@cache
def onednn_linear_works() -> bool:
    """Return whether this torch has the operator, with the signature that we know.

    It is not part of torch's public face.
    """
    # Not a layer: its random weights would move the process' random state.
    kind: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
    weight, bias = torch.linspace(-0.5, 0.5, 6, **kind).view(2, 3), torch.tensor([0.1, -0.2], **kind)
    x = torch.linspace(-1, 1, 12, **kind).view(4, 3)
    try:
        with torch.no_grad():
            result = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
            return bool(torch.allclose(result, F.gelu(F.linear(x, weight, bias)), atol=1e-6))
    except (AttributeError, RuntimeError, TypeError):
        return False


class FeedForward(nn.Sequential):
    """Linear C to ratio·C, GELU, linear back."""

    def __init__(self, channels: int, ratio: float, bias: bool = True, gelu: str = "none") -> None:
        hidden = round(channels * ratio)
        super().__init__(
            nn.Linear(channels, hidden, bias), nn.GELU(approximate=gelu), nn.Linear(hidden, channels, bias)
        )

    def forward(self, x: Tensor) -> Tensor:
        into, gelu, out = self[0], self[1], self[2]
        assert isinstance(into, nn.Linear)
        assert isinstance(gelu, nn.GELU)
        assert isinstance(out, nn.Linear)
        if gelu.approximate == "none":
            return linear(linear_gelu(x, into), out)
        return linear(gelu(linear(x, into)), out)


class PairedFeedForward(nn.Module):
    """Linear C to two halves a, b of ratio·C, joined, linear back; no biases (paper 004).

    ``gated``: GELU(a)·b. Additive: LeakyReLU(0.1)(a) + LeakyReLU(0.01)(b), the slopes of the codecs that it cites.
    """

    def __init__(self, channels: int, ratio: float, gated: bool, gelu: str = "none") -> None:
        super().__init__()
        hidden = round(channels * ratio)
        self.gated, self.gelu = gated, gelu
        self.into = nn.Linear(channels, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        both = linear(x, self.into)
        if self.gated and self.gelu == "none" and both.requires_grad:
            return linear(learning_gated_gelu(both), self.out)
        a, b = both.chunk(2, -1)
        if self.gated:
            return linear(F.gelu(a, approximate=self.gelu) * b, self.out)
        return linear(F.leaky_relu(a, 0.1) + F.leaky_relu(b, 0.01), self.out)


def feed_forward(channels: int, stage: config.Stage) -> FeedForward | PairedFeedForward | None:
    """Return the feed-forward half that a stage's blocks have; None where they have none."""
    if stage.ffn == "none":
        return None
    if stage.ffn in ("mlp", "vanilla"):
        return FeedForward(channels, stage.ffn_ratio, stage.ffn == "mlp", stage.gelu)
    return PairedFeedForward(channels, stage.ffn_ratio, stage.ffn == "gated", stage.gelu)


def last_layer(ffn: FeedForward | PairedFeedForward) -> nn.Linear:
    """Return the layer whose output joins the block's."""
    layer = ffn[2] if isinstance(ffn, FeedForward) else ffn.out
    assert isinstance(layer, nn.Linear)
    return layer
