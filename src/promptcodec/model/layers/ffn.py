"""Feed-forward halves of blocks: what a token does with its own channels. All work on the last axis."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model import config
from promptcodec.model.layers.linear import linear, linear_gelu


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
        a, b = linear(x, self.into).chunk(2, -1)
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
