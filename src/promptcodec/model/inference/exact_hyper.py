"""What z decides, in float64 on the CPU: gains, and the scales and means that the hyper networks give."""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptcodec.bitstream.tables import FrequencyTables
from promptcodec.model import arrays
from promptcodec.model.arrays import Float64s, Floats, Steps
from promptcodec.model.base import CompressionModel
from promptcodec.model.entropy import schedule as schedules
from promptcodec.model.entropy.contextual_mean import ContextualMean
from promptcodec.model.entropy.schedule import Schedule, in_units
from promptcodec.model.steering import Decoded, Gains, Steering


@dataclass(frozen=True)
class LatentSteering:
    """What steers the coding itself: gains beside the model's own and sites in h_s as a function of ẑ, both float64 on
    the CPU; and sites in h_m, float32 on the networks' device."""

    gains: Gains = field(default_factory=Gains)
    entropy: Callable[[Decoded], Steering] = lambda decoded: Steering()
    means: Callable[[Decoded], Steering] = lambda decoded: Steering()


class SteersLatents(Protocol):
    """What a call may be steered by."""

    def latents(self) -> LatentSteering:
        """Return the part that decides what is coded."""


def latent_steering(attached: SteersLatents | None) -> LatentSteering:
    """Read off ``attached`` what concerns the coding; nothing where it is None."""
    return LatentSteering() if attached is None else attached.latents()


class ExactHyper:
    """A float64 copy of all that decides a model's probabilities, always on the CPU: ``HyperNetworks`` of a codec."""

    def __init__(self, network: CompressionModel, tables: FrequencyTables) -> None:
        self.config, self.tables = network.config, tables
        self.synthesis = copy.deepcopy(network.h_s).cpu().double()
        self.gain = copy.deepcopy(network.gain).cpu().double() if network.gain is not None else None
        self.medians: Float64s = network.prior.medians.detach().cpu().double().numpy()
        context = network.context  # contextual means decide no probability
        self.context = None if isinstance(context, ContextualMean) else copy.deepcopy(context)
        if self.context is not None:
            self.context = self.context.cpu().double()

    @torch.inference_mode()
    def gains(self, q: float, attached: SteersLatents | None = None) -> arrays.Gains:
        """Return gain factors at q in [0, 1] and of the steering, float64, (1, C, 1, 1) or with a height and width."""
        gains = self._gains(q, latent_steering(attached))
        return arrays.Gains(*(_array(g) for g in (gains.y, gains.y_inverse, gains.z, gains.z_inverse)))

    def schedule(self, z_symbols: NDArray[np.int32], q: float, attached: SteersLatents | None = None) -> Steps:
        """Yield the steps in which y is coded, given the integers of z (1, N, h/64, w/64)."""
        if self.context is None:
            yield arrays.Step(arrays.EVERYWHERE, *self.parameters(z_symbols, q, attached))
            return
        yield from array_steps(self._context_steps(z_symbols, q, attached), _step)

    @torch.inference_mode()
    def parameters(
        self, z_symbols: NDArray[np.int32], q: float, attached: SteersLatents | None = None
    ) -> tuple[Float64s, Float64s]:
        """Return log σ and means of the gained y (1, M, h/16, w/16), of models without context."""
        steering = latent_steering(attached)
        gains = self._gains(q, steering)
        # In the order in which they are coded, or every step of that would copy them into it.
        scales, means = self._output(z_symbols, gains, steering).contiguous().chunk(2, 1)
        return self._log_sigma(scales, gains.y).numpy(), (means * gains.y).numpy()

    @torch.inference_mode()
    def log_scales(self, z_symbols: NDArray[np.int32], q: float, attached: SteersLatents | None = None) -> Float64s:
        """Return log σ of the gained y (1, M, h/16, w/16), of models with contextual means."""
        steering = latent_steering(attached)
        gains = self._gains(q, steering)
        log_scale = self._output(z_symbols, gains, steering)
        scales: Float64s = (log_scale + torch.as_tensor(gains.y, dtype=torch.float64).log()).numpy()
        return scales

    def _context_steps(self, z_symbols: NDArray[np.int32], q: float, attached: SteersLatents | None) -> Schedule:
        steering = latent_steering(attached)
        gains = self._gains(q, steering)
        features = self._output(z_symbols, gains, steering)
        assert self.context is not None
        return in_units(self.context.steps(features), gains.y, self._log_sigma)

    def _gains(self, q: float, steering: LatentSteering) -> Gains:
        plain = Gains() if self.gain is None else Gains(*self.gain(torch.tensor([q], dtype=torch.float64)))
        return plain.times(steering.gains)

    def _output(self, z_symbols: NDArray[np.int32], gains: Gains, steering: LatentSteering) -> Tensor:
        """Run the hyper synthesis on ẑ, (1, C, h/16, w/16)."""
        z_hat = (torch.from_numpy(z_symbols) + torch.from_numpy(self.medians)) * gains.z_inverse
        with torch.autocast("cpu", enabled=False):
            hyper: Tensor = self.synthesis(z_hat, steering.entropy(Decoded(z_hat)).within("h_s"))
        return hyper

    def _log_sigma(self, scales: Tensor, gain: Tensor | float) -> Tensor:
        """Return the log of the gained deviation, of what the networks gave and the gain of the same elements."""
        log_sigma = scales if self.config.scale == "log" else scales.clamp_min(0).log()
        return log_sigma + torch.as_tensor(gain, dtype=torch.float64).log()


def array_steps(
    steps: Generator[Any, Tensor, None],
    to_arrays: Callable[[Any], Any],
    device: torch.device | str = "cpu",
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Generator[Any, Floats, None]:
    """Run a schedule of tensors on ``device`` as one of arrays: without gradients, each step inside ``context``."""
    y_hat: Floats | None = None
    while True:
        with torch.inference_mode(), context():
            try:
                step = next(steps) if y_hat is None else steps.send(torch.from_numpy(y_hat).to(device))
            except StopIteration:
                return
        y_hat = yield to_arrays(step)


def array_place(where: schedules.Where) -> arrays.Where:
    """Return where elements lie, with arrays in the place of tensors."""
    if where is schedules.EVERYWHERE:
        return arrays.EVERYWHERE
    return tuple(part.numpy() if isinstance(part, Tensor) else part for part in where)


def _step(step: schedules.Step) -> arrays.Step:
    return arrays.Step(array_place(step.where), step.scale.numpy(), step.mean.numpy())


def _array(gain: Tensor | float) -> Float64s | float:
    return gain.numpy() if isinstance(gain, Tensor) else gain
