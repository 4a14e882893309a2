"""Channel selection (Liu et al. 2022): code only the channels of y that a machine task needs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model import config
from promptcodec.model.steering import Steering
from promptcodec.steer.adapter import Adapter
from promptcodec.steer.controls import Controls


class ChannelSelection(Adapter, kind="channels"):
    """A gate on y: global mean, two linear layers, two logits a channel; while training a hard Gumbel softmax chooses.

    Dropped channels are coded as their likeliest values, so that any base decoder opens the file. 111,168 parameters
    with 192 channels. With ``features`` it has a ``transform`` as well, which takes the place of the synthesis where
    nobody looks: from ŷ to so many features of a recogniser.
    """

    def __init__(self, base: config.Model, name: str = "", *, features: int = 0) -> None:
        super().__init__(base, name, **({"features": features} if features else {}))
        channels = base.latent_channels
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, 2 * channels))
        self.transform = FeatureTransform(channels, features) if features else None

    @torch.no_grad()
    def start_neutral(self) -> None:
        """Keep every channel, but for one draw in a few hundred."""
        weight, bias = self.gate[-1].parameters()
        weight.zero_()
        bias.view(-1, 2).copy_(torch.tensor([-3.0, 3.0]))

    def for_hyper(self, y: Tensor, controls: Controls) -> Steering:
        """Return the mask of y's channels, (B, M, 1, 1), of zeros and ones."""
        logits = self.gate(y.mean(dim=(2, 3))).unflatten(1, (-1, 2))
        if self.training:
            keep = F.gumbel_softmax(logits, hard=True)[..., 1]
        else:
            keep = (logits[..., 1] > logits[..., 0]).to(y.dtype)
        return Steering(keep_y=keep[..., None, None])


class FeatureTransform(nn.Module):
    """From the decoded ŷ straight to a recogniser's features at 1/4, without a picture between.

    The paper prints no layers. These give both figures that paper 002 prints of a decoder with it and the hyper
    synthesis alone, 1.96 million parameters and 25.13 kMAC a pixel: 840,064 with 192 channels in and 64 out.
    """

    def __init__(self, latent: int, features: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(latent, 2 * features, 3, 2, 1, 1), nn.GELU(),
            nn.Conv2d(2 * features, 2 * features, 5, padding=2), nn.GELU(),
            nn.ConvTranspose2d(2 * features, features, 5, 2, 2, 1), nn.GELU(), nn.Conv2d(features, features, 1),
        )  # fmt: skip

    def forward(self, y: Tensor) -> Tensor:
        """Turn y: (B, M, h, w), ``y_hat`` of a model's output. (B, features, 4h, 4w)."""
        return self.layers(y)  # type: ignore[no-any-return]
