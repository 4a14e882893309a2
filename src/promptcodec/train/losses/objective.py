"""The rate-distortion loss of a model, as the module that is compiled and distributed."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from promptcodec.model.base import CompressionModel, Quantisation
from promptcodec.model.rate_distortion import RateDistortion, rate_distortion
from promptcodec.train.losses.distortion import Distortion

SampleWeights = Literal["sqrt-lambda", "equal"]
BANDS = 3  # of the rate, low to high, that the figures tell apart


class Objective(nn.Module):
    """Loss and figures of a batch.

    lambda * distortion + bpp (facts of all five papers). ``sample_weights``: ``sqrt-lambda`` divides each sample's by
    sqrt(lambda), which keeps high rates from ruling the gradient, and with one lambda is a constant factor; ``equal``
    takes them as they are. The loss of the prior's quantiles is added: it has no parameter in common with the rest.
    """

    def __init__(
        self,
        model: CompressionModel,
        distortion: Distortion,
        quantisation: Quantisation,
        fixed_lambda: float = 0.0,
        autocast: bool = False,
        sample_weights: SampleWeights = "sqrt-lambda",
    ) -> None:
        super().__init__()
        self.sample_weights = sample_weights
        self.model, self.distortion, self.quantisation = model, distortion, quantisation
        self.fixed_lambda, self.autocast = fixed_lambda, autocast

    def forward(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss to minimise, and sums over the batch, without gradients, as ``Figures`` reads them: (4 + 3 *
        BANDS,).

        x: (B, 3, H, W) in [0, 1]. q: (B,) in [0, 1], the rates; without meaning for models of one rate.
        """
        gain = self.model.gain
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            out = self.model(x, q if gain is not None else None, self.quantisation)
        out["x_hat"] = out["x_hat"].float()
        result = rate_distortion(out, x)
        if gain is not None:
            rate_lambda = self.distortion.rate_lambda(gain.rate_lambda(q), (gain.lambda_min, gain.lambda_max))
        else:
            rate_lambda = torch.full_like(result.bpp, self.fixed_lambda)
        distortion = self.distortion(out["x_hat"], x, result.mse)
        losses = rate_lambda * distortion + result.bpp
        if self.sample_weights == "sqrt-lambda":
            losses = losses * math.sqrt(0.01) / rate_lambda.sqrt()
        return losses.mean() + self.model.prior.quantile_loss(), figures(losses, result, q)


@torch.no_grad()
def figures(losses: Tensor, result: RateDistortion, q: Tensor) -> Tensor:
    """Return the sums over the batch as ``Meter`` reads them, (4 + 3 * BANDS,). All arguments are (B,)."""
    rows = torch.stack([torch.ones_like(losses), result.bpp, result.psnr])
    band = (q * BANDS).floor().clamp(0, BANDS - 1)
    in_band = (band[:, None] == torch.arange(BANDS, device=q.device)).float()
    totals = torch.stack([torch.ones_like(losses), losses, result.bpp, result.mse]).sum(1)
    return torch.cat([totals, (rows @ in_band).T.flatten()])
