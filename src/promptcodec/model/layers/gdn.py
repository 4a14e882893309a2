"""Generalised divisive normalisation in its cheap form (Johnston et al. 2019): no squares, no root."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from promptcodec.model.layers.lower_bound import lower_bound

PEDESTAL = 2.0**-36
BETA_FLOOR = float(np.float32(math.sqrt(1e-6 + PEDESTAL)))  # a float32 constant of the reference, also in float64
GAMMA_FLOOR = 2.0**-18
EPSILON = 1e-4  # in the forward direction only


class Gdn(nn.Module):
    """x / (beta + gamma |x| + 1e-4), or its inverse x (beta + gamma |x|); x is (B, C, H, W).

    ``beta`` (C) and ``gamma`` (C, C) are stored as square roots and bounded from below before they are squared.
    """

    def __init__(self, channels: int, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.full((channels,), math.sqrt(1 + PEDESTAL)))
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        beta = lower_bound(self.beta, BETA_FLOOR).square() - PEDESTAL
        gamma = lower_bound(self.gamma, GAMMA_FLOOR).square() - PEDESTAL
        norm = F.conv2d(x.abs(), gamma[:, :, None, None], beta)
        return x * norm if self.inverse else x / (norm + EPSILON)
