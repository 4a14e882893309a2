"""What z decides, in float64 on the CPU: gains, the decoded z, and the output of the hyper synthesis."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.model.base import CompressionModel
from promptcodec.model.steering import Decoded, Gains, Steering


@dataclass(frozen=True)
class LatentSteering:
    """What steers the coding itself: gains beside the model's own and sites in h_s as a function of ẑ, both float64 on
    the CPU; sites in h_m, float32 on the codec's device; and, for an encoder, masks of what is kept (see ``Steering``).
    """

    gains: Gains = field(default_factory=Gains)
    entropy: Callable[[Decoded], Steering] = lambda decoded: Steering()
    means: Callable[[Decoded], Steering] = lambda decoded: Steering()
    keep_y: Tensor | None = None
    keep_z: Tensor | None = None


PLAIN = LatentSteering()


class ExactHyper:
    """A float64 copy of a model's hyper synthesis, gains and medians, always on the CPU."""

    def __init__(self, network: CompressionModel) -> None:
        self.synthesis = copy.deepcopy(network.h_s).cpu().double()
        self.gain = copy.deepcopy(network.gain).cpu().double() if network.gain is not None else None
        self.medians = network.prior.medians.cpu().double()

    def gains(self, q: float, steering: LatentSteering = PLAIN) -> Gains:
        """Gain factors at q in [0, 1] and of the steering, float64, (1, C, 1, 1) or with a height and width."""
        plain = Gains() if self.gain is None else Gains(*self.gain(torch.tensor([q], dtype=torch.float64)))
        return plain.times(steering.gains)

    def z_hat(self, z_symbols: Tensor, gains: Gains) -> Tensor:
        """ẑ as the hyper synthesis sees it, (1, N, h/64, w/64), from the integers of z."""
        return (z_symbols + self.medians) * gains.z_inverse

    def output(self, z_hat: Tensor, steering: LatentSteering) -> Tensor:
        """What the hyper synthesis makes of ẑ, (1, C, h/16, w/16)."""
        with torch.autocast("cpu", enabled=False):
            hyper: Tensor = self.synthesis(z_hat, steering.entropy(Decoded(z_hat)).within("h_s"))
        return hyper

    def channels(self, z: Tensor) -> NDArray[np.uint8]:
        """Table of each element of z: its channel."""
        return np.repeat(np.arange(z.shape[1], dtype=np.uint8), z.shape[2] * z.shape[3])
