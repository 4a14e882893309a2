"""Likelihoods: the factorised prior of the hyper latent and the conditional Gaussian of the latent."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.layers.lower_bound import lower_bound

LIKELIHOOD_FLOOR = float(np.float32(1e-9))  # the float32 constants of the reference, also in float64
SCALE_FLOOR = float(np.float32(0.11))


def gaussian_likelihood(residual: Tensor, sigma: Tensor) -> Tensor:
    """Return the probability of the unit interval around ``residual`` = y - mu under N(0, sigma²), floors applied."""
    sigma = lower_bound(sigma, SCALE_FLOOR)
    value = residual.abs()
    scale = math.sqrt(0.5) / sigma
    likelihood = 0.5 * (torch.erfc((value - 0.5) * scale) - torch.erfc((value + 0.5) * scale))
    return lower_bound(likelihood, LIKELIHOOD_FLOOR)


class FactorizedPrior(nn.Module):
    """Learned univariate density per channel (Ballé et al. 2018, appendix 6.1): a monotone network gives the CDF."""

    WIDTHS = (1, 3, 3, 3, 3, 1)
    TAIL_MASS = 1e-9

    def __init__(self, channels: int, init_scale: float = 10.0) -> None:
        super().__init__()
        scale = init_scale ** (1 / (len(self.WIDTHS) - 1))
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        for i, (inner, outer) in enumerate(zip(self.WIDTHS, self.WIDTHS[1:], strict=False)):
            start = math.log(math.expm1(1 / scale / outer))
            self.matrices.append(nn.Parameter(torch.full((channels, outer, inner), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, outer, 1).uniform_(-0.5, 0.5)))
            if i < len(self.WIDTHS) - 2:
                self.factors.append(nn.Parameter(torch.zeros(channels, outer, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-init_scale, 0.0, init_scale]).repeat(channels, 1, 1))

    @property
    def medians(self) -> Tensor:
        """(1, C, 1, 1): the values that rounding is centred on."""
        return self.quantiles.detach()[:, :, 1].reshape(1, -1, 1, 1)

    def logits(self, values: Tensor, frozen: bool = False) -> Tensor:
        """Return the logit of the CDF at ``values`` (C, 1, n).

        ``frozen`` keeps gradients from the density's own parameters.
        """
        for i, (matrix, bias) in enumerate(zip(self.matrices, self.biases, strict=True)):
            matrix, bias = (matrix.detach(), bias.detach()) if frozen else (matrix, bias)
            values = torch.matmul(F.softplus(matrix), values) + bias
            if i < len(self.factors):
                factor = self.factors[i].detach() if frozen else self.factors[i]
                values = values + torch.tanh(factor) * torch.tanh(values)
        return values

    def likelihood(self, z: Tensor) -> Tensor:
        """Return the probability of a unit interval around each element of z (B, C, H, W), floored at 1e-9."""
        values = z.transpose(0, 1).flatten(1).unsqueeze(1)
        lower, upper = self.logits(values - 0.5), self.logits(values + 0.5)
        sign = -torch.sign(lower + upper).detach()  # subtract where the sigmoid is not saturated
        sign = torch.where(sign == 0, torch.ones_like(sign), sign)
        likelihood = (torch.sigmoid(sign * upper) - torch.sigmoid(sign * lower)).abs()
        likelihood = likelihood.reshape(z.shape[1], z.shape[0], *z.shape[2:]).transpose(0, 1)
        return lower_bound(likelihood, LIKELIHOOD_FLOOR)

    def quantile_loss(self) -> Tensor:
        """Return the auxiliary loss: distance of the quantile parameters from tails and median of the density."""
        tail = math.log(2 / self.TAIL_MASS - 1)
        # float32, as in the reference
        target = torch.tensor([-tail, 0.0, tail], dtype=torch.float32, device=self.quantiles.device)
        return (self.logits(self.quantiles, frozen=True) - target).abs().sum()
